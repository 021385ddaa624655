"""Causal-graph message passing: gates, intervention masks, edge probabilities, masked attention.

`adjacency[i, j]` is the edge **into i from j**. Nodes are `[B, N, ...]`. What the equations write
as a network on concatenated pairs is computed without ever forming a pair:
`W [v_i ; v_j] = W_l v_i + W_r v_j`, so all that is N x N is one scalar per head.

Sources: Gendron, Witbrock and Dobbie, arXiv 2302.00869, section 4 (mask, edges, transition); Brody,
Alon and Yahav, "How attentive are graph attention networks?" (2022) (GATv2).
"""

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from cdis.ops.quantize import straight_through

LEAKY_SLOPE = 0.2  # of every LeakyReLU here, GATv2's own


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
    """Sinusoidal position code of each node: sines in the even columns, cosines in the odd ones."""
    column = jnp.arange(width)
    angle = jnp.arange(num_nodes)[:, None] / 10_000.0 ** (2 * (column // 2)[None, :] / width)
    return jnp.where((column % 2 == 0)[None, :], jnp.sin(angle), jnp.cos(angle))


def additive_mask_logits(
    action_weights: Float[Array, "a k"],
    position_weights: Float[Array, "p k"],
    bias: Float[Array, " k"],
    positions: Float[Array, "n p"],
) -> Float[Array, "a n k"]:
    """Published mask logits `W_m [a ; p_n] + b_m`, for every action, node and code.

    They are additive in action and node: for a fixed code two actions cannot pick two different
    nodes. A free table of the same shape can.
    """
    return (action_weights + bias)[:, None, :] + (positions @ position_weights)[None, :, :]


def intervention_mask(
    key: PRNGKeyArray | None,
    one_hot: Float[Array, "b n k"],
    table: Float[Array, "a n k"],
    action: Int[Array, " b"] | None,
) -> Float[Array, "b n"] | Float[Array, "b a n"]:
    """`m_n ~ Bernoulli(o_n . sigmoid(logits[a, n]))`: which nodes does the action hit?

    For the action of each example, or for all actions at once if `action` is None. A node's code is
    one-hot, so the logit is read off before the sigmoid: `o . sigmoid(l) = sigmoid(o . l)`. (Where
    a gradient flows into o as well, that gradient is the second form's: a departure.)
    """
    chex.assert_rank([one_hot, table], 3)
    if action is None:
        logits = jnp.einsum("bnk,ank->ban", one_hot, table)
    else:
        logits = jnp.einsum("bnk,bnk->bn", one_hot, table[action])
    return straight_through_bernoulli(key, logits)


def _leaky(x: Array) -> Array:
    return jnp.maximum(x, LEAKY_SLOPE * x)


def _sum_to(x: Array, shape: tuple[int, ...]) -> Array:
    """Sum over the axes along which `shape` had been broadcast."""
    return x.sum([i for i, size in enumerate(shape) if size == 1 != x.shape[i]], keepdims=True)


@jax.custom_vjp
def pair_scores(
    target: Float[Array, "#b #s #g n h"],
    source: Float[Array, "#b #s #g m h"],
    readout: Float[Array, "#b #s #g h"],
    weight: Float[Array, "#b #s #g n m"],
    edge: Float[Array, "#b #s #g h"],
) -> Float[Array, "b s g n m"]:
    """`s_ij = u . LeakyReLU(t_i + r_j + w_ij e)` for every pair (i, j).

    The one N x N x H computation of the method, for edge probabilities (`edge = 0`) and for GATv2's
    attention alike. Features are walked in chunks and the backward pass recomputes them, so memory
    is that of the result: H times less than that of the pairs.

    Axes b (images), s (actions looked at on one image) and g (heads) broadcast: what is shared
    along one has size 1 there and is never repeated.

    Args:
      target: transformed receiving nodes i.
      source: transformed sending nodes j.
      readout: u.
      weight: weight of each edge, w.
      edge: what a unit of edge weight adds to the features, e.
    """
    return _pair_scores_forward(target, source, readout, weight, edge)[0]


def _chunked(target, source, readout, edge):
    """The scan's inputs, one slice a chunk of features, shaped to broadcast over pairs."""
    # Two at a time: enough to keep the sums in cache, few enough to compile quickly.
    chunk = 2 if target.shape[-1] % 2 == 0 else 1
    t, r, u, e = (
        jnp.moveaxis(x, -1, 0).reshape(-1, chunk, *x.shape[:-1])
        for x in (target, source, readout, edge)
    )
    return t[..., :, None], r[..., None, :], u[..., None, None], e[..., None, None]


def _pair_scores_forward(target, source, readout, weight, edge):
    chex.assert_rank([target, source, weight, readout, edge], [5, 5, 5, 4, 4])
    chunks = _chunked(target, source, readout, edge)

    def add(scores, chunk):
        for t, r, u, e in zip(*chunk, strict=True):
            scores += u * _leaky(t + r + e * weight)
        return scores, None

    shape = jnp.broadcast_shapes(*(x.shape[2:] for x in chunks), weight.shape)
    scores, _ = jax.lax.scan(add, jnp.zeros(shape, target.dtype), chunks)
    return scores, (target, source, readout, weight, edge)


def _pair_scores_backward(residuals, gradient):
    target, source, readout, weight, edge = residuals
    chunks = _chunked(target, source, readout, edge)
    # Along axes that all features share, what follows is linear in dz: sum there first.
    shared = [axis for axis in range(3) if all(x.shape[axis + 2] == 1 for x in chunks)]

    def walk(d_weight, chunk):
        slopes = []
        for features in zip(*chunk, strict=True):
            t, r, u, e = features
            z = t + r + e * weight
            dz = gradient * jnp.where(z > 0, 1.0, LEAKY_SLOPE).astype(z.dtype)
            d_weight += _sum_to(e * u * dz, weight.shape)
            by_weight = (dz * weight).sum((*shared, -2, -1), keepdims=True)
            dz = dz.sum(shared, keepdims=True)
            # u is the same for all pairs of a head: it multiplies sums, not pairs.
            by_target, by_source = dz.sum(-1, keepdims=True), dz.sum(-2, keepdims=True)
            # LeakyReLU(z) = z LeakyReLU'(z): the readout's gradient is made of sums made already.
            by_score = (t * by_target).sum(-2, keepdims=True)
            by_score += (r * by_source).sum(-1, keepdims=True) + e * by_weight
            changes = (u * by_target, u * by_source, by_score, u * by_weight)
            slopes.append([_sum_to(d, x.shape) for d, x in zip(changes, features, strict=True)])
        return d_weight, tuple(jnp.stack(d) for d in zip(*slopes, strict=True))

    d_weight, slopes = jax.lax.scan(walk, jnp.zeros_like(weight), chunks)
    d_target, d_source, d_readout, d_edge = (
        jnp.moveaxis(x.reshape(-1, *like.shape[:-1]), 0, -1)
        for x, like in zip(slopes, (target, source, readout, edge), strict=True)
    )
    return d_target, d_source, d_readout, d_weight, d_edge


pair_scores.defvjp(_pair_scores_forward, _pair_scores_backward)


def intervened_edges(
    base: Float[Array, "b 1 n m"], acted: Float[Array, "b s n m"], mask: Float[Array, "b s n"]
) -> Float[Array, "b s n m"]:
    """`alpha_ij = (1 - m_i) g_0(v_i, v_j) + m_i g_a(v_i, v_j)`: edges into a hit node change.

    *Incoming* edges, as in a do-operation (arXiv 2302.00869, section 4). Serves sampled graphs as
    well: with m_i in {0, 1}, choosing between samples is sampling from the chosen probability.
    """
    return base + mask[..., None] * (acted - base)


def message_passing(
    target: Float[Array, "b #s g n h"],
    source: Float[Array, "b #s g n h"],
    extra: Float[Array, "#b s g x h"],
    readout: Float[Array, "#b #s g h"],
    edge: Float[Array, "#b #s g h"],
    weight: Float[Array, "b s n n"],
    connected: Float[Array, "b s n n"],
) -> Float[Array, "b s g n h"]:
    """Dense masked GATv2: each node's attention-weighted mean of what its parents send.

    `sum_j c_ij exp(s_ij) r_j / sum_j c_ij exp(s_ij)` with `s = pair_scores`. `connected` is 0 or 1
    and carries its straight-through gradient. `extra` sends to every node with weight 1 (the action
    node, a noise node).
    """
    # Extra parents are few: their pairs are small enough to be formed.
    z = target[..., :, None, :] + (extra + edge[..., None, :])[..., None, :, :]
    scores = jnp.concatenate(
        [
            pair_scores(target, source, readout, weight[:, :, None], edge),
            jnp.sum(readout[..., None, None, :] * _leaky(z), axis=-1),
        ],
        axis=-1,
    )
    always = jnp.ones((*connected.shape[:3], extra.shape[-2]), connected.dtype)
    gates = jnp.concatenate([connected, always], axis=-1)[:, :, None]
    # Relative to the best parent, not the best node, lest all parents' votes underflow. A node
    # that is no parent has no vote, but its gate's gradient has: bounded, lest it overflow.
    best = jnp.where(gates > 0, scores, -jnp.inf).max(-1, keepdims=True)
    votes = gates * jnp.exp(jnp.minimum(scores - jax.lax.stop_gradient(best), 30.0))
    attention = votes / jnp.maximum(votes.sum(-1, keepdims=True), jnp.finfo(votes.dtype).tiny)
    from_nodes, from_extra = jnp.split(attention, [source.shape[-2]], axis=-1)
    return from_nodes @ source + from_extra @ extra
