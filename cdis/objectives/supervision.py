"""Losses that tie latents to labels."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def distances(
    z: Float[Array, "*b f"], labels: Float[Array, "b f"], binary: Bool[Array, " f"]
) -> Float[Array, "b f"]:
    """Distance of each latent from its factor's label.

    Squared error for a continuous label. Cross-entropy for a binary one (0 or 1), whose latent z is
    the logit.
    """
    return jnp.where(binary, jax.nn.softplus(z) - z * labels, (z - labels) ** 2)


def alignment(
    z: Float[Array, "b f"],
    labels: Float[Array, "b f"],
    binary: Bool[Array, " f"],
    known: Bool[Array, "b f"] | None = None,
) -> Float[Array, " b"]:
    """`distances`, summed over factors.

    Only `known` labels count; the others must be finite.
    """
    distance = distances(z, labels, binary)
    if known is not None:
        distance = jnp.where(known, distance, 0.0)
    return distance.sum(-1)
