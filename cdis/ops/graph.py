"""Causal-graph message passing: gates, intervention masks, edge probabilities, masked attention.

`adjacency[i, j]` is the edge **into i from j**. Nodes are `[B, N, ...]`. What the equations write
as a network on concatenated pairs is computed without ever forming a pair:
`W [v_i ; v_j] = W_l v_i + W_r v_j`, so all that is N x N is one scalar per head.

Sources: Gendron, Witbrock and Dobbie, arXiv 2302.00869, section 4 (mask, edges, transition); Brody,
Alon and Yahav, "How attentive are graph attention networks?" (2022) (GATv2).
"""

import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from cdis.ops.quantize import straight_through

LEAKY_SLOPE = 0.2  # of every LeakyReLU here, GATv2's own
# Terms that are added in one go. More than 15 uses keep XLA from computing a chunk's slice anew in
# every term, which on a CPU takes several times as long as the terms themselves.
_CHUNK = 16
# Fewer features or nodes than this are walked by the scan: in a layer of 8 nodes, 8 and 16 features
# the chunks took three times its time forward and backward.
_LONG = 32


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


def _sum_over(term: Callable[..., Array], arrays: list[Array], axes: list[int]) -> Array:
    """`sum_k term(*slices_k)`, slices taken along the axis given for each array.

    Of all terms only their sum is in memory. They are added in straight code, `_CHUNK` or more at a
    time, and a loop walks over the chunks. The last one is filled up with zeros, for which a term
    must vanish.
    """
    size = arrays[0].shape[axes[0]]
    count = max(1, size // _CHUNK)
    length = -(-size // count)

    def filled(x, axis):
        shape = list(x.shape)
        shape[axis] = count * length - size
        return jnp.concatenate([x, jnp.zeros(shape, x.dtype)], axis) if shape[axis] else x

    def add(index, total):
        chunks = [
            jax.lax.dynamic_slice_in_dim(x, index * length, length, axis)
            for x, axis in zip(arrays, axes, strict=True)
        ]
        for k in range(length):
            total += term(
                *(
                    jax.lax.index_in_dim(x, k, axis, keepdims=False)
                    for x, axis in zip(chunks, axes, strict=True)
                )
            )
        return total

    arrays = [filled(x, axis) for x, axis in zip(arrays, axes, strict=True)]
    if count == 1:
        return add(0, jnp.zeros((), arrays[0].dtype))
    like = jax.eval_shape(add, 0, jnp.zeros((), arrays[0].dtype))
    return jax.lax.fori_loop(0, count, add, jnp.zeros(like.shape, like.dtype))


def _sum(x: Array, axis: int) -> Array:
    """Slices added up one by one.

    Over any axis but the last, XLA's own sum takes fifteen times as long on a CPU.
    """
    return _sum_over(lambda part: part, [x], [axis])


def _sum_to(x: Array, shape: tuple[int, ...]) -> Array:
    """Sum over the axes along which `shape` had been broadcast."""
    for axis, size in enumerate(shape):
        if size == 1 != x.shape[axis]:
            x = jnp.expand_dims(_sum(x, axis), axis)
    return x


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _spread(x: Array, shape: tuple[int, ...]) -> Array:
    """`jnp.broadcast_to` for axes of size 1, with `_sum_to` as its gradient."""
    return jnp.broadcast_to(x, shape)


_spread.defvjp(
    lambda x, shape: (jnp.broadcast_to(x, shape), x.shape),
    lambda shape, original, gradient: (_sum_to(gradient, original),),
)


@jax.custom_vjp
def pair_scores(
    target: Float[Array, "#b #s #g n h"],
    source: Float[Array, "#b #s #g m h"],
    readout: Float[Array, "#b #s #g h"],
    weight: Float[Array, "#b #s #g n m"] | None = None,
    edge: Float[Array, "#b #s #g h"] | None = None,
) -> Float[Array, "b s g n m"]:
    """`s_ij = u . LeakyReLU(z_ij)`, `z_ij = t_i + r_j + w_ij e`, for every pair (i, j).

    The one N x N x H computation of the method, for edge probabilities (without w and e) and for
    GATv2's attention alike. Features are walked in chunks and the backward pass recomputes them, so
    memory is that of the result: H times less than that of the pairs. With slope a and p = z - r,
    `LeakyReLU(z) = a p + r + (1 - a) max(p, -r)`: summed over features, the first two are made of
    terms of i, of j and of w_ij, and the maximum alone is left to compute for every pair and
    feature.

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


def _over_features(term, factor, target, source, weight, edge):
    """`sum_h term(t_ih + w_ij e_h, -r_jh, factor_h)` for every pair, j along vector registers."""

    def of_feature(t, minus_r, f, *e):
        p = t[..., :, None]
        if e:
            p += weight * e[0][..., None, None]
        return term(p, minus_r[..., None, :], f[..., None, None])

    weighted = [] if edge is None else [edge]
    arrays = [target, -source.swapaxes(-1, -2), factor, *weighted]
    return _sum_over(of_feature, arrays, [4, 3, 3] + [3] * len(weighted))


def _over_parents(gradient, target, source, weight, edge):
    """`sum_j gradient_ij LeakyReLU'(z_ijh)`, the features along vector registers."""

    def of_parent(minus_r, g, *w):
        p = target
        if w:
            p += w[0][..., None] * edge[..., None, :]
        return jnp.where(p > minus_r[..., None, :], g[..., None], 0.0)

    weighted = [] if weight is None else [weight]
    positive = _sum_over(of_parent, [-source, gradient, *weighted], [3, 4] + [4] * len(weighted))
    return LEAKY_SLOPE * gradient.sum(-1)[..., None] + (1 - LEAKY_SLOPE) * positive


def _is_short(target: Array, source: Array) -> bool:
    return min(*target.shape[-2:], source.shape[-2]) < _LONG


def _with_edges(arguments):
    """Arguments of `pair_scores` with weights and edges, zero if there are none."""
    target, source, readout, weight, edge = arguments
    if weight is None:
        weight = jnp.zeros((1, 1, 1, 1, 1), target.dtype)
        edge = jnp.zeros((1, 1, 1, target.shape[-1]), target.dtype)
    return target, source, readout, weight, edge


def _short_chunks(target, source, readout, edge):
    """The scan's inputs, one slice a chunk of features, shaped to broadcast over pairs."""
    # Two at a time: enough to keep the sums in cache, few enough to compile quickly.
    chunk = 2 if target.shape[-1] % 2 == 0 else 1
    t, r, u, e = (
        jnp.moveaxis(x, -1, 0).reshape(-1, chunk, *x.shape[:-1])
        for x in (target, source, readout, edge)
    )
    return t[..., :, None], r[..., None, :], u[..., None, None], e[..., None, None]


def _short_forward(target, source, readout, weight, edge):
    """Scores by a scan over features, two at a time, the backward pass alike."""
    chunks = _short_chunks(target, source, readout, edge)

    def add(scores, chunk):
        for t, r, u, e in zip(*chunk, strict=True):
            scores += u * _leaky(t + r + e * weight)
        return scores, None

    shape = jnp.broadcast_shapes(*(x.shape[2:] for x in chunks), weight.shape)
    scores, _ = jax.lax.scan(add, jnp.zeros(shape, target.dtype), chunks)
    return scores


def _short_backward(gradient, target, source, readout, weight, edge):
    chunks = _short_chunks(target, source, readout, edge)
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


def _pair_scores_forward(target, source, readout, weight, edge):
    chex.assert_rank([target, source, readout], [5, 5, 4])
    residuals = (target, source, readout, weight, edge)
    if weight is not None:
        chex.assert_rank([weight, edge], [5, 4])
    if _is_short(target, source):
        return _short_forward(*_with_edges(residuals)), residuals
    u = readout[..., None]
    linear = LEAKY_SLOPE * (target @ u) + (source @ u).swapaxes(-1, -2)
    if weight is not None:
        linear += LEAKY_SLOPE * weight * jnp.sum(readout * edge, axis=-1)[..., None, None]
    # Not jnp.maximum, which minds NaN and is slower for it.
    bent = _over_features(
        lambda p, minus_r, u: u * jnp.where(p > minus_r, p, minus_r),
        readout,
        target,
        source,
        weight,
        edge,
    )
    return linear + (1 - LEAKY_SLOPE) * bent, residuals


def _pair_scores_backward(residuals, gradient):
    target, source, readout, weight, edge = residuals
    if _is_short(target, source):
        slopes = _short_backward(gradient, *_with_edges(residuals))
        return slopes if weight is not None else (*slopes[:3], None, None)
    transposed = None if weight is None else weight.swapaxes(-1, -2)
    by_target = _over_parents(gradient, target, source, weight, edge)
    by_source = _over_parents(gradient.swapaxes(-1, -2), source, target, transposed, edge)
    # LeakyReLU(z) = z LeakyReLU'(z): the readout's gradient is made of sums made already.
    nodes = 3  # their axis
    by_score = _sum(target * by_target, nodes) + _sum(source * by_source, nodes)
    d_weight = d_edge = None
    if weight is not None:
        by_edge = _sum(_over_parents(gradient * weight, target, source, weight, edge), nodes)
        by_score += edge * by_edge
        d_edge = _sum_to(readout * by_edge, edge.shape)
        slopes = _over_features(
            lambda p, minus_r, f: jnp.where(p > minus_r, f, LEAKY_SLOPE * f),
            readout * edge,
            target,
            source,
            weight,
            edge,
        )
        d_weight = _sum_to(gradient * slopes, weight.shape)
    u = readout[..., None, :]
    return (
        _sum_to(u * by_target, target.shape),
        _sum_to(u * by_source, source.shape),
        _sum_to(by_score, readout.shape),
        d_weight,
        d_edge,
    )


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
    scores: Array = pair_scores(target, source, readout, weight[:, :, None], edge)
    # Extra parents are few: their pairs are small enough to be formed.
    pairs = (*scores.shape[:-1], *extra.shape[-2:])
    sent: Array = _spread((extra + edge[..., None, :])[..., None, :, :], pairs)
    z = target[..., :, None, :] + sent
    flat = z.reshape(*z.shape[:3], -1, z.shape[-1])
    extra_scores = (_leaky(flat) @ readout[..., None]).reshape(z.shape[:-1])
    gates: Array = _spread(connected[:, :, None], scores.shape)
    # Relative to the best parent, not the best node, lest all parents' votes underflow. A node
    # that is no parent has no vote, but its gate's gradient has: bounded, lest it overflow.
    best = jnp.concatenate([jnp.where(gates > 0, scores, -jnp.inf), extra_scores], axis=-1)
    best = jax.lax.stop_gradient(best.max(-1, keepdims=True))
    votes = gates * jnp.exp(jnp.minimum(scores - best, 30.0))
    extra_votes = jnp.exp(extra_scores - best)
    # Divided by the sum of votes after the sum of messages: once a node instead of once a pair.
    total = votes.sum(-1, keepdims=True) + extra_votes.sum(-1, keepdims=True)
    received = votes @ source + extra_votes @ extra
    return received / jnp.maximum(total, jnp.finfo(total.dtype).tiny)
