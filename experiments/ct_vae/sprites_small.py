"""Joint CT-VAE on 18,432 characters drawn from the published sheets (sprites/small).

    cdis data prepare sprites/small
    cdis train --config experiments/ct_vae/sprites_small.py --workdir runs/sprites_small

As for rooms (experiments/ct_vae/rooms3d_cpu.py), images have four times the pixels of the
quickstart's, so terms that sum over pixels weigh a quarter, patches are twice as wide, and sharing
a node costs more. There are seven factors, so two nodes more. Not measured yet.
"""

from ml_collections import ConfigDict

from cdis.methods import joint_ct_vae


def get_config() -> ConfigDict:
    """The experiment."""
    config = joint_ct_vae.defaults()
    config.data.name = "sprites/small"
    config.model.autoencoder.patch = 4
    config.model.autoencoder.decoder_rank = 64
    config.model.codes.num_codebooks = 10
    config.model.weights.sharing = 60.0
    config.model.weights.reconstruction /= 4
    config.model.weights.image /= 4
    return config
