"""Losses of the causal transition (arXiv 2302.00869, section 4): arrays in, scalars out.

Edges and graphs are `[..., N, N]`; entry (i, j) is the edge into i from j.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray


def node_cross_entropy(
    logits: Float[Array, "b n k"],
    target: Float[Array, "b n k"],
    weight: Float[Array, " b"] | float = 1.0,
) -> Float[Array, ""]:
    """`mean_n -sum_k target_k log softmax(logits)_k`: predicted codes against one-hot codes.

    The mean over images times their weights.
    """
    losses = -jnp.sum(jax.nn.log_softmax(logits) * target, axis=-1)
    return jnp.mean(jnp.expand_dims(weight, -1) * losses)


def edge_divergence(edges: Float[Array, "... n m"], *, rate: float) -> Float[Array, ""]:
    """`KL(Bernoulli(alpha_ij) || Bernoulli(rate))`, mean over edges: a prior that can be stated.

    Departure from the authors' code, see `random_edge_divergence`.
    """
    alpha = jnp.clip(edges, 1e-6, 1 - 1e-6)
    present = alpha * (jnp.log(alpha) - jnp.log(rate))
    absent = (1 - alpha) * (jnp.log1p(-alpha) - jnp.log1p(-rate))
    return jnp.mean(present + absent)


def random_edge_divergence(key: PRNGKeyArray, edges: Float[Array, "b n m"]) -> Float[Array, ""]:
    """`KL(softmax(u) || softmax(alpha))` over all edges of a graph, mean over graphs.

    In the authors' code, with u uniform on (0, 1) and drawn anew in every step. It draws edges to
    each other, whatever their number.
    """
    log_q = jax.nn.log_softmax(edges.reshape(len(edges), -1), axis=-1)
    log_p = jax.nn.log_softmax(jax.random.uniform(key, log_q.shape), axis=-1)
    return jnp.mean(jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1))


def graph_size(graph: Float[Array, "... n m"]) -> Float[Array, ""]:
    """`|G|_F`, the square root of the number of edges, mean over graphs."""
    # The constant keeps the gradient of the root finite at the empty graph.
    return jnp.mean(jnp.sqrt(jnp.sum(graph**2, axis=(-2, -1)) + 1e-8))


def orphan_penalty(edges: Float[Array, "... n m"]) -> Float[Array, ""]:
    """`| prod_j (1 - alpha_ij) |_2` over nodes i, mean over graphs: each node needs a parent."""
    orphan = jnp.prod(1 - edges, axis=-1)
    return jnp.mean(jnp.sqrt(jnp.sum(orphan**2, axis=-1) + 1e-8))


def identity_distance(graph: Float[Array, "... n n"]) -> Float[Array, ""]:
    """`mean (G - I)^2`: without an action nothing changes."""
    return jnp.mean((graph - jnp.eye(graph.shape[-1])) ** 2)


def graph_terms(
    edges: Float[Array, "... n m"], graph: Float[Array, "... n m"], *, rate: float
) -> dict[str, Float[Array, ""]]:
    """The three penalties on a graph under an action, by the names of their weights."""
    return {
        "edge_prior": edge_divergence(edges, rate=rate),
        "graph_size": graph_size(graph),
        "orphans": orphan_penalty(edges),
    }


def retrieval_loss(
    log_probabilities: Float[Array, "b a"],
    action: Int[Array, " b"],
    weight: Float[Array, " b"] | float = 1.0,
) -> Float[Array, ""]:
    """`mean -log p(action)` times weights, with log probabilities of all actions for each pair."""
    chosen = jnp.take_along_axis(log_probabilities, action[:, None], axis=1)[:, 0]
    return -jnp.mean(weight * chosen)


def retrieval_accuracy(
    log_probabilities: Float[Array, "b a"], action: Int[Array, " b"]
) -> Float[Array, ""]:
    """The share of pairs whose most likely action is the true one; for the log, not a loss.

    Of pairs whose action is known, that is, not negative; 0 if there is none.
    """
    right = jnp.argmax(log_probabilities, axis=-1) == action
    return right.sum() / jnp.maximum((action >= 0).sum(), 1)


def node_sharing(
    x: Float[Array, "b n e"],
    y: Float[Array, "b n e"],
    factor: Int[Array, " b"],
    *,
    num_factors: int,
    weight: Float[Array, " b"] | float = 1.0,
    floor: float = 0.01,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """How much factors share nodes: the sum over pairs of factors {f, g} of `sum_n R_fn R_gn`.

    `R_fn` is node n's share of the movement under factor f: the mean of `|y_n - x_n|^2` over the
    pairs whose action changes f (in the batch, on all devices), divided by its sum over nodes. The
    result is 0 if no two factors move the same node, and 1 / N for each pair if all factors move
    all nodes alike. Shares do not depend on how far nodes move, so standing still does not reduce
    the loss; `floor` keeps negligible movements from mattering. Ours, not the paper's.

    Args:
      x: latent vectors of the nodes before the action.
      y: latent vectors after it.
      factor: the factor that the action changes.
      num_factors: F.
      weight: of each pair in the means.
      floor: added to every factor's movement, divided evenly among the nodes.
      axis_name: devices that share the batch.
    """
    moved = jnp.sum((y - x) ** 2, axis=-1)
    member = jnp.expand_dims(weight, -1) * jax.nn.one_hot(factor, num_factors)
    sums, counts = member.T @ moved, member.sum(0)
    if axis_name is not None:
        sums, counts = jax.lax.psum((sums, counts), axis_name)
    mean = sums / jnp.maximum(counts, 1)[:, None] + floor / moved.shape[1]
    share = mean / mean.sum(1, keepdims=True)
    return jnp.sum(share.sum(0) ** 2 - jnp.sum(share**2, axis=0)) / 2
