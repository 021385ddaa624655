"""Images: number formats, sizes, and the exchange of resolution for channels."""

from typing import TypeVar

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

Images = TypeVar("Images", np.ndarray, jax.Array)


def from_uint8(images: Images) -> Images:
    """Stored images, uint8 from 0 to 255, as float32 in [-1, 1]; arrays of NumPy or JAX."""
    return images.astype(np.float32) / 127.5 - 1.0


def to_uint8(images: Images) -> Images:
    """Images in [-1, 1], clipped to that range, as they are stored: uint8 from 0 to 255."""
    numpy = images.__array_namespace__()
    return numpy.round((numpy.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8)


def tinted(images: UInt8[Array, "b h w c"], tint: Bool[Array, " b"]) -> UInt8[Array, "b h w c"]:
    """Stored images, those where `tint` in a cooler light: white turns to a light blue, or grey.

    An attribute of every pixel that carries no information about the factors.
    """
    chex.assert_rank([images, tint], [4, 1])
    light = jnp.linspace(0.75, 1.0, images.shape[-1])
    cool = jnp.round(images * light).astype(jnp.uint8)
    return jnp.where(tint[:, None, None, None], cool, images)


def pad_to_multiple(x: Float[Array, "b h w c"], multiple: int) -> Float[Array, "b h2 w2 c"]:
    """Images whose sides are multiples of `multiple`; the last row and column are repeated."""
    chex.assert_rank(x, 4)
    height, width = (-side % multiple for side in x.shape[1:3])
    if not height and not width:
        return x
    return jnp.pad(x, ((0, 0), (0, height), (0, width), (0, 0)), mode="edge")


def space_to_depth(x: Float[Array, "b h w c"], block: int) -> Float[Array, "b h/block w/block d"]:
    """Each `block` x `block` patch becomes one place with `block * block * c` channels."""
    chex.assert_rank(x, 4)
    b, h, w, c = x.shape
    x = x.reshape(b, h // block, block, w // block, block, c).swapaxes(2, 3)
    return x.reshape(b, h // block, w // block, block * block * c)


def depth_to_space(x: Float[Array, "b h w d"], block: int) -> Float[Array, "b h*block w*block c"]:
    """Inverse of `space_to_depth`."""
    chex.assert_rank(x, 4)
    b, h, w, d = x.shape
    x = x.reshape(b, h, w, block, block, d // block**2).swapaxes(2, 3)
    return x.reshape(b, h * block, w * block, d // block**2)
