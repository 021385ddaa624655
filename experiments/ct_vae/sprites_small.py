"""Joint CT-VAE on a subset of Sprites, characters of a video game: minutes on two CPU cores.

    cdis data prepare sprites/small
    cdis train --config ct_vae/sprites_small --workdir runs/sprites_small
    cdis evaluate --workdir runs/sprites_small

As `rooms3d_cpu.py`, whose images have the same size; the number of nodes fits the factors.
"""

from ml_collections import ConfigDict

from cdis.config import beside, override

rooms3d_cpu = beside(__file__, "rooms3d_cpu")


def get_config() -> ConfigDict:
    """The experiment."""
    config = rooms3d_cpu()
    override(config, {"data.name": "sprites/small"})
    return config
