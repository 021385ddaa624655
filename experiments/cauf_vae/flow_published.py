"""Anchored CauF-VAE on Flow as CausalVAE drew it, with labels in full: minutes on two CPU cores.

    cdis train --config cauf_vae/flow_published --workdir runs/flow_published
    cdis evaluate --workdir runs/flow_published
    cdis evaluate --workdir runs/flow_published --data flow/original

As `flow_original.py`, on images drawn by us in the same way. The last command measures on the
original files.
"""

from ml_collections import ConfigDict

from cdis.config import beside, override

flow_original = beside(__file__, "flow_original")


def get_config() -> ConfigDict:
    """The experiment."""
    config = flow_original()
    override(config, {"data.name": "flow/published"})
    return config
