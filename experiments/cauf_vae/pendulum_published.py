"""Anchored CauF-VAE on Pendulum as CausalVAE drew it: minutes on two CPU cores.

    cdis train --config cauf_vae/pendulum_published --workdir runs/pendulum_published
    cdis evaluate --workdir runs/pendulum_published
    cdis evaluate --workdir runs/pendulum_published --data pendulum/original

As `pendulum_cpu.py`, on images in the framing and the colours of the original script, with the
gradients of `own.py`. The last command measures on original files, which `cdis data prepare
pendulum/original --manual_dir FOLDER_OR_ZIP` reads.
"""

from ml_collections import ConfigDict

from cdis.config import beside, override

own = beside(__file__, "own")


def get_config() -> ConfigDict:
    """The experiment."""
    config = own()
    override(
        config,
        {
            "data.name": "pendulum/published",
            "stages.flow.steps": 3000,
            "stages.images.steps": 5000,
        },
    )
    return config
