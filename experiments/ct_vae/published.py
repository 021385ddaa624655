"""CT-VAE as published (arXiv 2302.00869), on data that a CPU core can render.

    cdis train --config ct_vae/published --workdir runs/published                # coloured sprites
    cdis train --config ct_vae/published:oriented --workdir runs/published
    cdis train --config ct_vae/published:rooms3d_small --workdir runs/published

Widths, weights, batches and optimiser are published; `cdis.methods.ct_vae` lists what the paper
says, what the authors' code does and what we do. Only the length differs: the paper trains for 20
and 100 epochs, this for about PLACEHOLDER epochs. log.jsonl has the learning curves, on validation data:
codes in use, error of reconstructions, accuracy of retrieval.
"""

from ml_collections import ConfigDict

from cdis.methods import ct_vae

#: The data of each variant, and the steps of autoencoder and transitions.
_VARIANTS = {
    "": ("sprites2d/coloured", 500, 2000),
    "oriented": ("sprites2d/oriented", 500, 2000),
    "rooms3d_small": ("rooms3d/small", 500, 1000),
}


def get_config(variant: str = "") -> ConfigDict:
    """The experiment on coloured sprites, or on the data of a variant."""
    if variant not in _VARIANTS:
        names = ", ".join(map(repr, filter(None, _VARIANTS)))
        raise ValueError(f"no variant {variant!r}; there are {names} and 'smoke'")
    config = ct_vae.defaults()
    data, autoencoder, transition = _VARIANTS[variant]
    config.data.name = data
    config.stages.autoencoder.steps = autoencoder
    config.stages.transition.steps = transition
    config.log_every = 50
    config.validate_every = 250
    config.validation_batches = 16
    return config
