"""Joint CT-VAE on 10,000 rooms (rooms3d/small): about twelve minutes on one CPU core.

    cdis train --config experiments/ct_vae/rooms3d_cpu.py --workdir runs/rooms3d_cpu

The recipe of the quickstart, which fits itself to the data.
"""

from ml_collections import ConfigDict

from cdis.methods import joint_ct_vae


def get_config() -> ConfigDict:
    """The experiment."""
    config = joint_ct_vae.defaults()
    config.data.name = "rooms3d/small"
    return config
