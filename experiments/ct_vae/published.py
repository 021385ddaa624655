"""CT-VAE as published (arXiv 2302.00869), on coloured sprites.

    cdis train --config experiments/ct_vae/published.py --workdir runs/published

Published widths and weights. The paper trains for 20 and 100 epochs; the steps here are far fewer,
and still take 40 minutes on one core. Other data: `--config.data.name=sprites2d/oriented`. Ours:
.105 / .208 retrieval, which is chance, with 1 code of 64 in use (the README explains why).
"""

from ml_collections import ConfigDict

from cdis.methods import ct_vae


def get_config() -> ConfigDict:
    """The experiment."""
    return ct_vae.defaults()
