"""Seeded samples of images for measurements that cannot afford all of them."""

import numpy as np
from jaxtyping import Int

SEED = 0
MAX_IMAGES = 20_000
MAX_INTERVENED = 512  # images; every intervention is applied to each
SHOWN_INTERVENTIONS = 8  # images in a figure


def sample(index: Int[np.ndarray, " n"], most: int) -> Int[np.ndarray, " m"]:
    """All of `index`, or a seeded sample of size `most` in the same order."""
    if len(index) <= most:
        return index
    return index[np.sort(np.random.default_rng(SEED).permutation(len(index))[:most])]
