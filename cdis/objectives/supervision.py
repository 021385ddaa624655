"""Losses that tie latents to labels."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def alignment(
    z: Float[Array, "b f"], labels: Float[Array, "b f"], binary: Bool[Array, " f"]
) -> Float[Array, " b"]:
    """Distance of each latent from its factor's label, summed over factors.

    Squared error for a continuous label. Cross-entropy for a binary one (0 or 1), whose latent z is
    the logit.
    """
    cross_entropy = jax.nn.softplus(z) - z * labels
    return jnp.where(binary, cross_entropy, (z - labels) ** 2).sum(-1)
