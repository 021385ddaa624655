"""Reconstruction losses: arrays in, scalars out."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def squared_error(
    images: Float[Array, "b h w c"], target: Float[Array, "b h w c"]
) -> Float[Array, ""]:
    """Mean squared error per pixel value, in the images' own range [-1, 1]."""
    return jnp.mean((images - target) ** 2)


def cross_entropy(
    logits: Float[Array, "b h w c"], target: Float[Array, "b h w c"]
) -> Float[Array, ""]:
    """Binary cross-entropy of logits and pixels: mean in nats per pixel value.

    `target` is in [-1, 1] and is rescaled to [0, 1].
    """
    target = (target + 1) / 2
    return jnp.mean(jax.nn.softplus(logits) - logits * target)
