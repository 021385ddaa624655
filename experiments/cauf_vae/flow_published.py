"""Anchored CauF-VAE on Flow, drawn by us as CausalVAE drew it: minutes on two CPU cores.

    cdis train --config cauf_vae/flow_published --workdir runs/flow_published
    cdis evaluate --workdir runs/flow_published
    cdis evaluate --workdir runs/flow_published --data flow/original

The recipe of `pendulum_cpu.py`. The last command measures on the original files, which `cdis data
prepare flow/original --manual_dir FOLDER_OR_ZIP` reads.
"""

from ml_collections import ConfigDict

from cdis.config import beside, override

pendulum_cpu = beside(__file__, "pendulum_cpu")


def get_config() -> ConfigDict:
    """The experiment."""
    config = pendulum_cpu()
    override(config, {"data.name": "flow/published"})
    return config
