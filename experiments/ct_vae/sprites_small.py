"""Joint CT-VAE on 18,432 characters drawn from the published sheets (sprites/small).

    cdis data prepare sprites/small
    cdis train --config ct_vae/sprites_small --workdir runs/sprites_small
    cdis evaluate --workdir runs/sprites_small

A pose is a matter of three factors together (action, rotation and frame), so nodes have 64 codes
and factors may share them.
"""

from ml_collections import ConfigDict

from cdis.methods import joint_ct_vae


def get_config() -> ConfigDict:
    """The experiment."""
    config = joint_ct_vae.defaults()
    config.data.name = "sprites/small"
    config.stages.joint.steps = 3000
    config.stages.transition.steps = 300
    config.model.autoencoder.decoder_rank = 64
    config.model.codes.num_codebooks = 10
    config.model.codes.num_codes = 64
    config.model.weights.sharing = 0.0
    return config
