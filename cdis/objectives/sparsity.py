"""Penalties that prune the edges of a graph."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def group_lasso(kernel: Float[Array, "d d h"], adjacency: Float[Array, "d d"]) -> Float[Array, ""]:
    """`sum_ij |kernel_ij|_2` over the edges of the graph; each edge is one group of weights.

    Yuan and Lin, "Model selection and estimation in regression with grouped variables" (2006).
    """
    # The small constant keeps the gradient of the root finite where a group is zero.
    return jnp.sum(adjacency * jnp.sqrt(jnp.sum(kernel**2, axis=-1) + 1e-12))
