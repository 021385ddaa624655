"""What data sets of causes and effects have in common: their mechanism, seeded draws, painting."""

from collections.abc import Callable
from typing import NamedTuple, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

WHITE = 255.0  # in every channel


class Mechanism(NamedTuple):
    """How the images of a data set come about, as jitted functions of arrays.

    `values` are physical values, float32 [b, F], as in `Dataset.values`; images are of the shape
    that the data set has.

    Attributes:
      counterfactual: (values, factor, value float32 [b]) -> values: what each image's factors would
        have been under do(factor = value), `factor` being a column's number. The exogenous noise
        is abducted from `values`, which must be exact (those of the data set), the factor is set
        and its descendants are computed anew with their own noise; all else stays.
      render: values -> uint8 [b, H, W, 3], any values, also such as never occur together.
      referee: images -> values: reads every factor off the pixels by colour and place, knowing
        nothing of how factors cause one another. Takes uint8, or floats in [-1, 1]; where an object
        is missing it answers with a finite value without sense.
      inside: values -> bool [b]: nothing of the drawing is cut off by the frame. True of every
        image of the data set, but two effects set at will may move one out of the picture.
    """

    counterfactual: Callable[..., Array]
    render: Callable[..., Array]
    referee: Callable[..., Array]
    inside: Callable[..., Array]


def uniform(seed: int, count: int) -> Float[np.ndarray, " count"]:
    """Draws in (0, 1), float64; from raw Philox output, which NumPy promises never to change."""
    # The second word keeps them apart from the draws that order the splits.
    bits = np.random.Philox(key=np.array([seed, 1], np.uint64)).random_raw(count)
    return ((bits >> np.uint64(11)) + 0.5) / 2.0**53


def gaussian(seed: int, count: int) -> Float[np.ndarray, " count"]:
    """Standard normal draws, float64, by the transform of Box and Muller; as lasting as uniform."""
    radius, turn = uniform(seed, 2 * count).reshape(2, count)
    return np.sqrt(-2 * np.log(radius)) * np.cos(2 * np.pi * turn)


# Painting: antialiased coverage of square pixels.


def span(
    low: Array | float, high: Array | float, first: int, count: int
) -> Float[Array, "... count"]:
    """The exact share of each of the cells [first, first + 1], ... that lies in [low, high]."""
    edge = jnp.arange(first, first + count, dtype=jnp.float32)
    low, high = jnp.asarray(low)[..., None], jnp.asarray(high)[..., None]
    return jnp.clip(jnp.minimum(high, edge + 1) - jnp.maximum(low, edge), 0, 1)


def over(image: Array | float, coverage: Array, colour: tuple[float, ...]) -> Array:
    """Paints `colour` on `image` [..., 3], or on one grey, where `coverage` [...] says so."""
    return image + coverage[..., None] * (jnp.array(colour) - image)


# Reading


def brightness(images: Num[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Images, uint8 or floats in [-1, 1], on the scale 0 to 255."""
    if images.dtype == jnp.uint8:
        return images.astype(jnp.float32)
    return jnp.clip((images.astype(jnp.float32) + 1) * 127.5, 0, 255)


def solid(coverage: Array, faint: float) -> Array:
    """Coverage with what is faint taken for none, and what is nearly full for full.

    So that the sum over a wide background of a decoded image is nothing. Symmetrical about a half:
    an antialiased edge that lies anywhere in its pixel keeps its place on average.
    """
    return jnp.clip((coverage - faint) / (1 - 2 * faint), 0, 1)


def centroid(weight: Array, place: Array) -> Array:
    """The weighted mean of `place` over the last axis."""
    return (weight * place).sum(-1) / jnp.maximum(weight.sum(-1), 1e-6)


class Spread(TypedDict):
    """Fields of `Info`."""

    value_mean: tuple[float, ...]
    value_std: tuple[float, ...]


def spread(values: np.ndarray) -> Spread:
    """`value_mean` and `value_std` of `Info`, from all values [n, F] of a data set."""
    exact = values.astype(np.float64)
    return Spread(value_mean=tuple(exact.mean(0).tolist()), value_std=tuple(exact.std(0).tolist()))


def in_chunks(render: Callable[..., jax.Array], values: np.ndarray, size: int) -> np.ndarray:
    """`render(values)`, `size` rows at a time; the last are padded, so that it compiles once."""
    chunks = []
    for start in range(0, len(values), size):
        rows = np.minimum(np.arange(start, start + size), len(values) - 1)
        chunks.append(np.asarray(render(values[rows]))[: len(values) - start])
    return np.concatenate(chunks)
