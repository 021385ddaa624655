"""CT-VAE as published (arXiv 2302.00869), on SmallNORB at 64 x 64.

    cdis data prepare smallnorb
    cdis train --config experiments/ct_vae/smallnorb.py --workdir runs/smallnorb

The settings are those of `cdis.methods.ct_vae`, at the published length: 20 epochs of the
autoencoder, and 100 epochs of the transitions, of 16,000 pairs each, as in the authors'
configuration for Shapes3D. Their learning rate falls after each of these 100 epochs, ours only
after an epoch of all pairs. We have not run it.
"""

from ml_collections import ConfigDict

from cdis.methods import ct_vae


def get_config() -> ConfigDict:
    """The experiment."""
    config = ct_vae.defaults()
    config.data.name = "smallnorb"
    config.stages.autoencoder.steps = 10_631  # 34,020 training images, 64 a step
    config.stages.transition.steps = 100_000
    return config
