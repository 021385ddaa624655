"""CT-VAE as published (arXiv 2302.00869), on dSprites.

    cdis data prepare dsprites
    cdis train --config experiments/ct_vae/dsprites.py --workdir runs/dsprites

The settings are those of experiments/ct_vae/published.py, at the published length: 20 epochs of the
autoencoder, and 100 epochs of the transitions, of 16,000 pairs each, to which the authors'
configuration for Shapes3D limits them. Not run by us yet.
"""

from ml_collections import ConfigDict

from cdis.config import beside, override

published = beside(__file__, "published")


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" is two steps of a stage on small drawn images."""
    config = published(variant)
    if variant == "smoke":
        override(config, {"data.name": "sprites2d/oriented"})
        return config
    override(
        config,
        {
            "data.name": "dsprites",
            "stages.autoencoder.steps": 161_280,  # 516,096 training images, 64 a step
            "stages.transition.steps": 100_000,
        },
    )
    return config
