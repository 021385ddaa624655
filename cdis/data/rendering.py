"""Shared tools of the causal data sets: seeded samples, antialiased shapes, reading of pixels."""

from collections.abc import Callable
from typing import TypedDict

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, UInt8

from cdis.chunks import in_chunks

WHITE = 255.0  # in every channel

_CHUNK = 256  # images that are rendered at once


# Random numbers


def uniform(seed: int, count: int) -> Float[np.ndarray, " count"]:
    """Samples from (0, 1), float64.

    They come from raw Philox output, which NumPy promises never to change.
    """
    # The second word of the key keeps them independent of the random numbers that order the splits.
    bits = np.random.Philox(key=np.array([seed, 1], np.uint64)).random_raw(count)
    return ((bits >> np.uint64(11)) + 0.5) / 2.0**53


def gaussian(seed: int, count: int) -> Float[np.ndarray, " count"]:
    """Standard normal samples, float64: the Box-Muller transform of `uniform`."""
    radius, turn = uniform(seed, 2 * count).reshape(2, count)
    return np.sqrt(-2 * np.log(radius)) * np.cos(2 * np.pi * turn)


# Rendering: antialiased coverage of square pixels


def span(
    low: Array | float, high: Array | float, first: int, count: int
) -> Float[Array, "... count"]:
    """The exact share of each cell [first, first + 1], [first + 1, ...], ... within [low, high]."""
    edge = jnp.arange(first, first + count, dtype=jnp.float32)
    low, high = jnp.asarray(low)[..., None], jnp.asarray(high)[..., None]
    return jnp.clip(jnp.minimum(high, edge + 1) - jnp.maximum(low, edge), 0, 1)


def over(image: Array | float, coverage: Array, colour: tuple[float, ...]) -> Array:
    """Blend `colour` over `image` [..., 3], or over one grey level, by `coverage` [...]."""
    return image + coverage[..., None] * (jnp.array(colour) - image)


def render_all(
    render: Callable[[np.ndarray], Array], values: Float[np.ndarray, "n f"]
) -> UInt8[np.ndarray, "n h w 3"]:
    """`render(values)` for any number of rows, compiled once."""
    return in_chunks(lambda rows: render(values[rows]), len(values), size=_CHUNK)


# Reading of pixels


def brightness(images: Num[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Images, uint8 or floats in [-1, 1], as floats from 0 to 255."""
    if images.dtype == jnp.uint8:
        return images.astype(jnp.float32)
    return jnp.clip((images.astype(jnp.float32) + 1) * 127.5, 0, 255)


def solid(coverage: Array, faint: float) -> Array:
    """Coverage with values below `faint` set to 0 and values above 1 - `faint` set to 1.

    The wide background of a decoded image then sums to nothing. Symmetric about a half, so that
    antialiased edges keep their mean position.
    """
    return jnp.clip((coverage - faint) / (1 - 2 * faint), 0, 1)


def centroid(weight: Array, place: Array) -> Array:
    """The weighted mean of `place` over the last axis."""
    return (weight * place).sum(-1) / jnp.maximum(weight.sum(-1), 1e-6)


# Facts


class ValueStatistics(TypedDict):
    """Fields of `Info`."""

    value_mean: tuple[float, ...]
    value_std: tuple[float, ...]


def value_statistics(values: Float[np.ndarray, "n f"]) -> ValueStatistics:
    """`value_mean` and `value_std` of `Info`, from all values of a data set."""
    exact = values.astype(np.float64)
    return ValueStatistics(
        value_mean=tuple(exact.mean(0).tolist()), value_std=tuple(exact.std(0).tolist())
    )
