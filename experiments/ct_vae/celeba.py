"""CT-VAE as published (arXiv 2302.00869), on pairs of CelebA's photographs.

    cdis data prepare celeb_a/first_10 --manual_dir FOLDER
    cdis train --config experiments/ct_vae/celeba.py --workdir runs/celeba
    cdis evaluate --workdir runs/celeba

CelebA is fetched by hand; the first command says what to put into FOLDER. A transition is two
photographs whose first ten attributes agree in all but one, of a seeded sample of all such pairs;
attributes have very unequal numbers of them (`cdis data show celeb_a/first_10`), so look at the
results of each action. The settings are those of experiments/ct_vae/published.py, at the published
length: 20 epochs of the autoencoder, and 100 of the transitions, which we take to be of 16,000
pairs each, as for Shapes3D. Not run: no copy of the data was at hand.
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
            "data.name": "celeb_a/first_10",
            "stages.autoencoder.steps": 50_866,  # 162,770 training images, 64 a step
            "stages.transition.steps": 100_000,
        },
    )
    return config
