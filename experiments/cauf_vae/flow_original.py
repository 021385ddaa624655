"""Anchored CauF-VAE on the images of Flow that CausalVAE published: minutes on two CPU cores.

    cdis data prepare flow/original --manual_dir FOLDER_OR_ZIP
    cdis train --config cauf_vae/flow_original --workdir runs/flow_original
    cdis evaluate --workdir runs/flow_original

Labels are cut to whole numbers, so latents can agree with them only so far. As `own.py`, with more
steps.
"""

from ml_collections import ConfigDict

from cdis.config import beside, override

own = beside(__file__, "own")


def get_config() -> ConfigDict:
    """The experiment."""
    config = own()
    override(
        config,
        {"data.name": "flow/original", "stages.flow.steps": 3000, "stages.images.steps": 5000},
    )
    return config
