"""CT-VAE as published (arXiv 2302.00869), on pairs of CelebA photographs.

    cdis data prepare celeb_a/first_10 --manual_dir FOLDER
    cdis train --config experiments/ct_vae/celeba.py --workdir runs/celeba
    cdis evaluate --workdir runs/celeba

CelebA has to be downloaded by hand; the first command says what to put into FOLDER. A transition is
two photographs whose first ten attributes agree in all but one, from a seeded sample of all such
pairs. Attributes differ widely in their number of pairs (`cdis data show celeb_a/first_10`), so
look at the results of each action. The settings are those of `cdis.methods.ct_vae`, at the
published length: 20 epochs of the autoencoder, and 100 of the transitions, which we take to be of
16,000 pairs each, as for Shapes3D; the authors' learning rate falls after each of these, ours only
after an epoch of all pairs. We have not run it: we had no copy of the data.
"""

from ml_collections import ConfigDict

from cdis.methods import ct_vae


def get_config() -> ConfigDict:
    """The experiment."""
    config = ct_vae.defaults()
    config.data.name = "celeb_a/first_10"
    config.stages.autoencoder.steps = 50_866  # 162,770 training images, 64 a step
    config.stages.transition.steps = 100_000
    return config
