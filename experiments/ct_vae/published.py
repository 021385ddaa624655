"""CT-VAE as published (arXiv 2302.00869), short enough for a CPU core.

    cdis train --config ct_vae/published --workdir runs/published                # coloured sprites
    cdis train --config ct_vae/published:oriented --workdir runs/published
    cdis train --config ct_vae/published:rooms3d_small --workdir runs/published

`cdis.methods.ct_vae` lists what the paper says, what its authors' code does and what we do.
Shortened here: the autoencoder takes 1,000 steps of 16 images (5.0 epochs of coloured sprites) in
place of 20 epochs in batches of 64, the transitions 2,000 steps (1.8 epochs) in place of 100
epochs. At the published length: `--config.stages.autoencoder.batch_size=64
--config.stages.autoencoder.steps=1008 --config.stages.transition.steps=100000`.

log.jsonl has the learning curves, on validation data: the share of codes in use, the error of
reconstructions, the accuracy of retrieval.
"""

from ml_collections import ConfigDict

from cdis.methods import ct_vae

#: The data of each variant, and the steps of autoencoder and transitions.
_VARIANTS = {
    "": ("sprites2d/coloured", 1000, 2000),
    "oriented": ("sprites2d/oriented", 1000, 2000),
    "rooms3d_small": ("rooms3d/small", 500, 1000),
}


def get_config(variant: str = "") -> ConfigDict:
    """The experiment on coloured sprites, or on the data of a variant."""
    if variant not in _VARIANTS:
        names = ", ".join(map(repr, filter(None, _VARIANTS)))
        raise ValueError(f"no variant {variant!r}; there are {names} and 'smoke'")
    data, autoencoder, transition = _VARIANTS[variant]
    config = ct_vae.defaults()
    config.data.name = data
    config.stages.autoencoder.update(steps=autoencoder, batch_size=16)
    config.stages.transition.steps = transition
    config.log_every = 50
    config.validate_every = 250
    config.validation_batches = 16
    return config
