"""Anchored CauF-VAE on Morpho-MNIST: a digit's thickness causes its intensity.

    cdis data prepare morpho_mnist/t10k --manual_dir FOLDER
    cdis train --config cauf_vae/morpho_mnist:t10k --workdir runs/morpho_mnist
    cdis evaluate --workdir runs/morpho_mnist

The variant "t10k" has 10,000 digits; without it, the training file is needed as well. Two labels
say little of a digit: 16 extra latents hold which digit it is and how it is written. Their KL
divergence has four times the weight, so that they do not hold what the labelled ones can. As
`own.py`, with more steps: minutes on two CPU cores.
"""

from ml_collections import ConfigDict

from cdis.config import beside, override

own = beside(__file__, "own")


def get_config(variant: str = "") -> ConfigDict:
    """The experiment, or its variant "t10k"."""
    if variant not in ("", "t10k"):
        raise ValueError(f"no variant {variant!r}; there are 't10k' and 'smoke'")
    config = own()
    override(
        config,
        {
            "data.name": f"morpho_mnist/{variant or 'default'}",
            "stages.images.steps": 5000,
            "model.extra": 16,
            "model.weights.extra": 4.0,
        },
    )
    return config
