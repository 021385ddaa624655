"""CT-VAE as published (arXiv 2302.00869), on coloured sprites.

    cdis train --config experiments/ct_vae/published.py --workdir runs/published

Published widths and weights. The paper trains for 20 and 100 epochs; the steps here are far fewer.
Other data: `--config.data.name=sprites2d/oriented`. On these black backgrounds one code of 64 stays
in use, so the run stops at step 500 and says so (the README explains why).
"""

from ml_collections import ConfigDict

from cdis.methods import ct_vae


def get_config() -> ConfigDict:
    """The experiment."""
    return ct_vae.defaults()
