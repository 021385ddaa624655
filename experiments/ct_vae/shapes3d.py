"""CT-VAE as published (arXiv 2302.00869), on Shapes3D.

    cdis data prepare shapes3d
    cdis train --config experiments/ct_vae/shapes3d.py --workdir runs/shapes3d

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
        return config
    override(
        config,
        {
            "data.name": "shapes3d",
            "stages.autoencoder.steps": 105_000,  # 336,000 training images, 64 a step
            "stages.transition.steps": 100_000,
        },
    )
    return config
