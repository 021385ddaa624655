"""Images into methods and out of them: seeded samples, chunks of one compiled shape, pixels."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from cdis.methods.base import Method

#: Above these numbers a seeded sample is measured.
MAX_IMAGES = 20_000
MAX_INTERVENED = 512  # images; every action is applied to each
CHUNK = 128  # of every compiled function, the last chunk padded to it
SHOWN_INTERVENTIONS = 8
SEED = 0

Progress = Callable[[str], None]


def encoder(method: Method, part: str) -> Callable[..., Any]:
    """One part of what `method.encode` gives, compiled; its callers saw that it is there."""
    encode = method.encode
    assert encode is not None
    return jax.jit(lambda variables, images: encode(variables, images)[part])


def in_chunks(function: Callable[[np.ndarray], Any], rows: Int[np.ndarray, " n"]) -> np.ndarray:
    """`function` of all rows, `CHUNK` at a time, so that one shape is compiled."""
    results = []
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        results.append(np.asarray(function(np.resize(chunk, CHUNK)))[: len(chunk)])
    return np.concatenate(results)


def sample(index: Int[np.ndarray, " n"], most: int) -> Int[np.ndarray, " m"]:
    """All of `index`, or a seeded sample of it in order."""
    if len(index) <= most:
        return index
    return index[np.sort(np.random.default_rng(SEED).permutation(len(index))[:most])]


def squared_error(decoded: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Mean squared error of each image, with pixels in [0, 1]; `decoded` is in [-1, 1]."""
    difference = (np.clip(decoded, -1, 1) + 1) / 2 - images.astype(np.float32) / 255
    return (difference**2).mean((1, 2, 3))


def as_uint8(images: np.ndarray) -> np.ndarray:
    """Images in [-1, 1], cut off beyond, as they are stored."""
    return np.round((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8)
