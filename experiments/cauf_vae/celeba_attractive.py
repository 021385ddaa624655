"""Anchored CauF-VAE on CelebA: attractiveness, and what is taken to cause it.

    cdis data prepare celeb_a/64 --manual_dir FOLDER
    cdis train --config cauf_vae/celeba_attractive --workdir runs/celeba_attractive
    cdis evaluate --workdir runs/celeba_attractive

As `celeba_smile.py`, with another graph. The paper's was not available, so the graph is ours:
DEAR's graph of age, with an edge from each attribute into Attractive (`cdis.data.celeb_a`);
--config.data.name=celeb_a/age leaves Attractive out. For a GPU. Not measured: no copy of the data
was available.
"""

from ml_collections import ConfigDict

from cdis.config import beside, override

celeba_smile = beside(__file__, "celeba_smile")


def get_config() -> ConfigDict:
    """The experiment."""
    config = celeba_smile()
    override(config, {"data.name": "celeb_a/attractive"})
    return config
