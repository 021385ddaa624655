"""Anchored CauF-VAE on the images of Flow that CausalVAE published: minutes on two CPU cores.

cdis data prepare flow/original --manual_dir FOLDER_OR_ZIP
cdis train --config cauf_vae/flow_original --workdir runs/flow_original
cdis evaluate --workdir runs/flow_original
"""

from ml_collections import ConfigDict

from cdis.config import beside, override

flow_published = beside(__file__, "flow_published")


def get_config() -> ConfigDict:
    """The experiment."""
    config = flow_published()
    override(config, {"data.name": "flow/original"})
    return config
