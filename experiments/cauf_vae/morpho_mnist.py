"""Anchored CauF-VAE on the 10,000 test digits of MorphoMNIST: thickness causes intensity.

    cdis data prepare morpho_mnist/t10k
    cdis train --config cauf_vae/morpho_mnist --workdir runs/morpho_mnist
    cdis evaluate --workdir runs/morpho_mnist

Beside the two labelled latents, 24 unlabelled ones hold the digit and its style.
"""

from ml_collections import ConfigDict

from cdis.methods import anchored_cauf_vae


def get_config() -> ConfigDict:
    """The experiment."""
    config = anchored_cauf_vae.defaults()
    config.data.name = "morpho_mnist/t10k"
    config.model.extra = 24
    config.model.autoencoder.patch = 2
    config.stages.images.clip_norm = 10.0
    return config
