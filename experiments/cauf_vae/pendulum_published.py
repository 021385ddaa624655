"""Anchored CauF-VAE on Pendulum, drawn by us as CausalVAE drew it: minutes on two CPU cores.

    cdis train --config cauf_vae/pendulum_published --workdir runs/pendulum_published
    cdis evaluate --workdir runs/pendulum_published
    cdis evaluate --workdir runs/pendulum_published --data pendulum/original

As `flow_published.py`. The last command measures on the original files, which `cdis data prepare
pendulum/original --manual_dir FOLDER_OR_ZIP` reads.
"""

from ml_collections import ConfigDict

from cdis.config import beside, override

flow_published = beside(__file__, "flow_published")


def get_config() -> ConfigDict:
    """The experiment."""
    config = flow_published()
    override(config, {"data.name": "pendulum/published"})
    return config
