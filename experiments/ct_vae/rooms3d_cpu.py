"""Joint CT-VAE on 10,000 rooms (rooms3d/small): about seven minutes on two CPU cores.

    cdis train --config experiments/ct_vae/rooms3d_cpu.py --workdir runs/rooms3d_cpu

Images have four times the pixels of the quickstart's, so terms that sum over pixels weigh a quarter
and patches are twice as wide. Rooms are richer than sprites on black, so the decoder has more
terms. The same number of nodes has to hold one factor more, so sharing a node costs more.
"""

from ml_collections import ConfigDict

from cdis.methods import joint_ct_vae


def get_config() -> ConfigDict:
    """The experiment."""
    config = joint_ct_vae.defaults()
    config.data.name = "rooms3d/small"
    config.model.autoencoder.patch = 4
    config.model.autoencoder.decoder_rank = 48
    config.model.weights.sharing = 60.0
    config.model.weights.reconstruction /= 4
    config.model.weights.image /= 4
    return config
