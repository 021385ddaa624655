"""Losses that tie latents to labels."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def alignment(
    z: Float[Array, "b f"],
    labels: Float[Array, "b f"],
    binary: Bool[Array, " f"],
    known: Bool[Array, "b f"] | None = None,
) -> Float[Array, " b"]:
    """Distance of each latent from its factor's label, summed over factors.

    Squared error for a continuous label. Cross-entropy for a binary one (0 or 1), whose latent z is
    the logit. Only `known` labels count; the others must be finite.
    """
    cross_entropy = jax.nn.softplus(z) - z * labels
    distance = jnp.where(binary, cross_entropy, (z - labels) ** 2)
    if known is not None:
        distance = jnp.where(known, distance, 0.0)
    return distance.sum(-1)
