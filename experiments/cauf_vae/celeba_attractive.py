"""CauF-VAE on CelebA: attractiveness, and what is taken to cause it.

    cdis data prepare celeb_a/64 --manual_dir FOLDER
    cdis train --config experiments/cauf_vae/celeba_attractive.py --workdir runs/celeba_attractive
    cdis evaluate --workdir runs/celeba_attractive

As `celeba_smile.py`, with another graph. It is ours, since the paper's could not be read: DEAR's
graph of age, all of which causes Attractive (`cdis.data.celeb_a`); --config.data.name=celeb_a/age
has it without. For a GPU. Not measured: no copy of the data was at hand.
"""

from ml_collections import ConfigDict

from cdis.config import beside, override

celeba_smile = beside(__file__, "celeba_smile")


def get_config(variant: str = "") -> ConfigDict:
    """The experiment, or with "smoke" two steps of each stage with tiny networks."""
    config = celeba_smile(variant)
    override(config, {"data.name": "celeb_a/attractive"})
    return config
