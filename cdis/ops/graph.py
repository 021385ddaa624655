"""Causal-graph message passing: gates, intervention masks, edge probabilities, masked attention.

`adjacency[i, j]` is the edge **into i from j**. Nodes are `[B, N, ...]`. The equations apply a
network to concatenated pairs; no pair is ever formed here, because
`W [v_i ; v_j] = W_l v_i + W_r v_j`, and only one scalar per head is N x N (`cdis.ops.pair_scores`).

Sources: Gendron, Witbrock and Dobbie, arXiv 2302.00869, section 4 (mask, edges, transition); Brody,
Alon and Yahav, "How attentive are graph attention networks?" (2022) (GATv2).
"""

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from cdis.ops.pair_scores import broadcast, leaky, pair_scores
from cdis.ops.quantize import straight_through


def straight_through_bernoulli(
    key: PRNGKeyArray | None, logits: Float[Array, "..."], *, temperature: float = 1.0
) -> Float[Array, "..."]:
    """Exactly 0 or 1 forward, `P(1) = sigmoid(logits)`; differentiable backward.

    The gradient is that of the binary concrete (Gumbel-softmax) relaxation with the same noise.
    Without a `key` the gate is deterministic: 1 where `logits > 0`, no noise.
    """
    noise = 0.0 if key is None else jax.random.logistic(key, logits.shape, logits.dtype)
    noisy = logits + noise
    hard = (noisy > 0).astype(logits.dtype)
    return straight_through(hard, jax.nn.sigmoid(noisy / temperature))


def sinusoidal_positions(num_nodes: int, width: int) -> Float[Array, "n d"]:
    """Sinusoidal position encoding of each node: sines in even columns, cosines in odd ones."""
    column = jnp.arange(width)
    angle = jnp.arange(num_nodes)[:, None] / 10_000.0 ** (2 * (column // 2)[None, :] / width)
    return jnp.where((column % 2 == 0)[None, :], jnp.sin(angle), jnp.cos(angle))


def additive_mask_logits(
    action_weights: Float[Array, "a k"],
    position_weights: Float[Array, "p k"],
    bias: Float[Array, " k"],
    positions: Float[Array, "*b n p"],
) -> Float[Array, "*b a n k"]:
    """Published mask logits `W_m [a ; p_n] + b_m`, for every action, node and code.

    They are additive in action and node: for a given code, two actions cannot select two different
    nodes. A free table of the same shape can. Positions may differ by image, after dropout.
    """
    return (action_weights + bias)[:, None, :] + (positions @ position_weights)[..., None, :, :]


def intervention_mask(
    key: PRNGKeyArray | None,
    one_hot: Float[Array, "b n k"],
    table: Float[Array, "a n k"] | Float[Array, "b a n k"],
    action: Int[Array, " b"] | None,
) -> Float[Array, "b n"] | Float[Array, "b a n"]:
    """`m_n ~ Bernoulli(o_n . sigmoid(logits[a, n]))`: which nodes does the action hit?

    `table` holds the logits of all images, or of each. For the action of each image, or for all
    actions at once if `action` is None. A node's code is one-hot, so the logit is selected before
    the sigmoid: `o . sigmoid(l) = sigmoid(o . l)`. Departure: a gradient with respect to o is that
    of the second form.
    """
    chex.assert_rank([one_hot, table], [3, {3, 4}])
    if action is None:
        axes = "ank" if table.ndim == 3 else "bank"
        logits = jnp.einsum(f"bnk,{axes}->ban", one_hot, table)
    else:
        chosen = table[action] if table.ndim == 3 else table[jnp.arange(len(table)), action]
        logits = jnp.einsum("bnk,bnk->bn", one_hot, chosen)
    return straight_through_bernoulli(key, logits)


def intervened_edges(
    base: Float[Array, "b 1 n m"], acted: Float[Array, "b s n m"], mask: Float[Array, "b s n"]
) -> Float[Array, "b s n m"]:
    """`alpha_ij = (1 - m_i) g_0(v_i, v_j) + m_i g_a(v_i, v_j)`: edges into a hit node change.

    *Incoming* edges, as in a do-operation (arXiv 2302.00869, section 4). The same holds for sampled
    graphs: with m_i in {0, 1}, choosing between samples is sampling from the chosen probability.
    """
    return base + mask[..., None] * (acted - base)


def bounded_logits(probability: Float[Array, "..."], *, floor: float = 1e-4) -> Float[Array, "..."]:
    """`log p - log(1 - p)`, where p and 1 - p count as `floor` at least, as the authors clamp."""
    p, q = (jnp.log(jnp.maximum(x, floor)) for x in (probability, 1 - probability))
    return p - q


def mean_self_weights(
    weight: Float[Array, "b s n n"], connected: Float[Array, "b s n n"], *, others: int
) -> Float[Array, "b s n n"]:
    """Edge weights in which a node's edge to itself has the mean weight of its other parents.

    PyTorch Geometric, which the authors use, fills in the weights of self-loops so. `connected` is
    1 for parents; `others` is the number of extra parents of every node, whose edges weigh 1.
    """
    itself = jnp.eye(weight.shape[-1])
    parents = connected * (1 - itself)
    total = (weight * parents).sum(-1, keepdims=True) + others
    count = parents.sum(-1, keepdims=True) + others
    return weight * (1 - itself) + itself * (total / count)


def message_passing(
    target: Float[Array, "b #s g n h"],
    source: Float[Array, "b #s g n h"],
    extra: Float[Array, "#b s g x h"],
    readout: Float[Array, "#b #s g h"],
    edge: Float[Array, "#b #s g h"],
    weight: Float[Array, "b s n n"] | None,
    connected: Float[Array, "b s n n"] | None,
) -> Float[Array, "b s g n h"]:
    """Dense masked GATv2: for each node, the attention-weighted mean of its parents' messages.

    `sum_j c_ij exp(s_ij) r_j / sum_j c_ij exp(s_ij)` with `s = pair_scores`. `connected` is 0 or 1
    and carries its straight-through gradient. `extra` nodes (the action node, a noise node) are
    parents of every node, with edge weight 1.

    Without `weight` and `connected`, each node is its only parent among the nodes, with weight 1:
    no pair has to be looked at.
    """
    # Extra parents are few: their pairs are small enough to form.
    lead = jnp.broadcast_shapes(target.shape[:3], extra.shape[:3])
    pairs = (*lead, target.shape[3], *extra.shape[-2:])
    sent: Array = broadcast((extra + edge[..., None, :])[..., None, :, :], pairs)
    z = target[..., :, None, :] + sent
    flat = z.reshape(*z.shape[:3], -1, z.shape[-1])
    extra_scores = (leaky(flat) @ readout[..., None]).reshape(z.shape[:-1])
    if weight is None or connected is None:
        alone = leaky(target + source + edge[..., None, :]) @ readout[..., None]
        alone = jnp.broadcast_to(alone, (*extra_scores.shape[:-1], 1))
        shares = jax.nn.softmax(jnp.concatenate([alone, extra_scores], axis=-1), axis=-1)
        return shares[..., :1] * source + shares[..., 1:] @ extra
    scores: Array = pair_scores(target, source, readout, weight[:, :, None], edge)
    gates: Array = broadcast(connected[:, :, None], scores.shape)
    # Relative to the best parent, not the best node, or all parents' votes could underflow. A node
    # that is not a parent has no vote, but the gradient of its gate sees one: the bound keeps that
    # from overflowing.
    best = jnp.concatenate([jnp.where(gates > 0, scores, -jnp.inf), extra_scores], axis=-1)
    best = jax.lax.stop_gradient(best.max(-1, keepdims=True))
    votes = gates * jnp.exp(jnp.minimum(scores - best, 30.0))
    extra_votes = jnp.exp(extra_scores - best)
    # Normalised after summing messages: one division per node instead of one per pair.
    total = votes.sum(-1, keepdims=True) + extra_votes.sum(-1, keepdims=True)
    received = votes @ source + extra_votes @ extra
    return received / jnp.maximum(total, jnp.finfo(total.dtype).tiny)
