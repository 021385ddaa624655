"""Losses of the causal transition (arXiv 2302.00869, section 4): arrays in, scalars out."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def node_cross_entropy(
    logits: Float[Array, "b n k"], target: Float[Array, "b n k"]
) -> Float[Array, ""]:
    """`mean_n -sum_k target_k log softmax(logits)_k`: predicted codes against one-hot codes."""
    return -jnp.mean(jnp.sum(jax.nn.log_softmax(logits) * target, axis=-1))


def edge_divergence(edges: Float[Array, "b s n m"], *, rate: float) -> Float[Array, ""]:
    """`KL(Bernoulli(alpha_ij) || Bernoulli(rate))`, mean over edges.

    Departure: the authors' code draws a new random prior at every step; a prior has a fixed rate.
    """
    alpha = jnp.clip(edges, 1e-6, 1 - 1e-6)
    present = alpha * (jnp.log(alpha) - jnp.log(rate))
    absent = (1 - alpha) * (jnp.log1p(-alpha) - jnp.log1p(-rate))
    return jnp.mean(present + absent)


def graph_size(graph: Float[Array, "b s n m"]) -> Float[Array, ""]:
    """`|G|_F`, the square root of the number of edges, mean over graphs."""
    # The floor keeps the gradient of the root finite at the empty graph.
    return jnp.mean(jnp.sqrt(jnp.sum(graph**2, axis=(-2, -1)) + 1e-8))


def orphan_penalty(edges: Float[Array, "b s n m"]) -> Float[Array, ""]:
    """`| prod_j (1 - alpha_ij) |_2` over nodes i, mean over graphs: each node needs a parent."""
    orphan = jnp.prod(1 - edges, axis=-1)
    return jnp.mean(jnp.sqrt(jnp.sum(orphan**2, axis=-1) + 1e-8))


def identity_distance(graph: Float[Array, "b s n n"]) -> Float[Array, ""]:
    """`mean (G - I)^2`: without an action nothing changes."""
    return jnp.mean((graph - jnp.eye(graph.shape[-1])) ** 2)
