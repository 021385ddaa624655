"""The score of every pair of nodes: the one N x N x H computation of the method.

What it computes is `pair_scores_reference`, three lines. `pair_scores` equals it, gradients
included, without ever holding the features of all pairs in memory: it walks over features in
chunks, and its hand-written backward pass recomputes them. The schedule is tuned for XLA on CPUs.

Source: Brody, Alon and Yahav, "How attentive are graph attention networks?" (2022) (GATv2).
"""

import functools
from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

LEAKY_SLOPE = 0.2  #: of the LeakyReLU in GATv2
# Terms added in one go. With more than 15 uses of a chunk's slice, XLA does not recompute the slice
# in every term, which on a CPU would take several times as long as the terms themselves.
_CHUNK = 16
# With fewer features or nodes than this, a scan walks over the features: for a layer of 8 nodes, 8
# and 16 features, chunks took three times as long forward and backward.
_LONG = 32


#: target, source, readout, weight, edge; the last two may be missing together.
Arguments = tuple[Array, Array, Array, Array | None, Array | None]


def pair_scores_reference(
    target: Float[Array, "#b #s #g n h"],
    source: Float[Array, "#b #s #g m h"],
    readout: Float[Array, "#b #s #g h"],
    weight: Float[Array, "#b #s #g n m"],
    edge: Float[Array, "#b #s #g h"],
    *,
    slope: float = LEAKY_SLOPE,
) -> Float[Array, "b s g n m"]:
    """`s_ij = u . LeakyReLU(t_i + r_j + w_ij e)`, the equation as it is written."""
    z = target[..., :, None, :] + source[..., None, :, :]
    z += weight[..., None] * edge[..., None, None, :]
    return jnp.sum(readout[..., None, None, :] * leaky(z, slope), axis=-1)


def leaky(x: Array, slope: float = LEAKY_SLOPE) -> Array:
    """LeakyReLU, for a slope of at most 1."""
    return jnp.maximum(x, slope * x)


def _sum_over(term: Callable[..., Array], arrays: Sequence[Array], axes: Sequence[int]) -> Array:
    """`sum_k term(*slices_k)`, with slices taken along the axis given for each array.

    Only the sum of the terms is in memory. An unrolled loop adds `_CHUNK` terms or more, and an
    outer loop walks over such chunks. The last chunk is padded with zeros, for which a term must
    vanish.
    """
    size = arrays[0].shape[axes[0]]
    count = max(1, size // _CHUNK)
    length = -(-size // count)

    def padded(x: Array, axis: int) -> Array:
        shape = list(x.shape)
        shape[axis] = count * length - size
        return jnp.concatenate([x, jnp.zeros(shape, x.dtype)], axis) if shape[axis] else x

    def add(index: Array | int, total: Array) -> Array:
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

    arrays = [padded(x, axis) for x, axis in zip(arrays, axes, strict=True)]
    if count == 1:
        return add(0, jnp.zeros((), arrays[0].dtype))
    like = jax.eval_shape(add, 0, jnp.zeros((), arrays[0].dtype))
    return jax.lax.fori_loop(0, count, add, jnp.zeros(like.shape, like.dtype))


def _sum(x: Array, axis: int) -> Array:
    """Sum over an axis, slice by slice.

    On a CPU, XLA's own sum over any axis but the last takes fifteen times as long.
    """
    return _sum_over(lambda part: part, [x], [axis])


def _sum_to(x: Array, shape: tuple[int, ...]) -> Array:
    """Sum over the axes along which an array of that `shape` was broadcast."""
    for axis, size in enumerate(shape):
        if size == 1 != x.shape[axis]:
            x = jnp.expand_dims(_sum(x, axis), axis)
    return x


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def broadcast(x: Array, shape: tuple[int, ...]) -> Array:
    """`jnp.broadcast_to` along axes of size 1, with a gradient that is fast on a CPU."""
    return jnp.broadcast_to(x, shape)


broadcast.defvjp(
    lambda x, shape: (jnp.broadcast_to(x, shape), x.shape),
    lambda shape, original, gradient: (_sum_to(gradient, original),),
)


def pair_scores(
    target: Float[Array, "#b #s #g n h"],
    source: Float[Array, "#b #s #g m h"],
    readout: Float[Array, "#b #s #g h"],
    weight: Float[Array, "#b #s #g n m"] | None = None,
    edge: Float[Array, "#b #s #g h"] | None = None,
    *,
    slope: float = LEAKY_SLOPE,
) -> Float[Array, "b s g n m"]:
    """`s_ij = u . LeakyReLU(z_ij)`, `z_ij = t_i + r_j + w_ij e`, for every pair (i, j).

    Equals `pair_scores_reference`, with the memory of the result: H times less than the features
    of all pairs. Without `weight` and `edge`, w and e are zero, as for edge probabilities; with
    them it is the score of GATv2's attention.

    With slope a and p = z - r, `LeakyReLU(z) = a p + r + (1 - a) max(p, -r)`. Summed over
    features, the first two terms separate into terms of i, of j and of w_ij; only the maximum has
    to be computed for every pair and feature.

    Axes b (images), s (actions considered for an image) and g (heads) broadcast: an argument
    shared along one of them has size 1 there and is never repeated.

    Args:
      target: transformed receiving nodes i.
      source: transformed sending nodes j.
      readout: u.
      weight: weight of each edge, w.
      edge: what a unit of edge weight adds to the features, e.
      slope: of the LeakyReLU for negative numbers, a; at most 1, and static.
    """
    scores: Array = _pair_scores(slope, (target, source, readout, weight, edge))
    return scores


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _pair_scores(slope: float, arguments: Arguments) -> Array:
    return _pair_scores_forward(slope, arguments)[0]


def _over_features(
    term: Callable[[Array, Array, Array], Array],
    factor: Array,
    target: Array,
    source: Array,
    weight: Array | None,
    edge: Array | None,
) -> Array:
    """`sum_h term(t_ih + w_ij e_h, -r_jh, factor_h)` for every pair, vectorised over j."""

    def of_feature(t: Array, minus_r: Array, f: Array, *e: Array) -> Array:
        p = t[..., :, None]
        if e and weight is not None:
            p += weight * e[0][..., None, None]
        return term(p, minus_r[..., None, :], f[..., None, None])

    weighted = [] if edge is None else [edge]
    arrays = [target, -source.swapaxes(-1, -2), factor, *weighted]
    return _sum_over(of_feature, arrays, [4, 3, 3] + [3] * len(weighted))


def _over_parents(
    slope: float,
    gradient: Array,
    target: Array,
    source: Array,
    weight: Array | None,
    edge: Array | None,
) -> Array:
    """`sum_j gradient_ij LeakyReLU'(z_ijh)`, vectorised over features."""

    def of_parent(minus_r: Array, g: Array, *w: Array) -> Array:
        p = target
        if w and edge is not None:
            p += w[0][..., None] * edge[..., None, :]
        return jnp.where(p > minus_r[..., None, :], g[..., None], 0.0)

    weighted = [] if weight is None else [weight]
    positive = _sum_over(of_parent, [-source, gradient, *weighted], [3, 4] + [4] * len(weighted))
    return slope * gradient.sum(-1)[..., None] + (1 - slope) * positive


def _is_short(target: Array, source: Array) -> bool:
    return min(*target.shape[-2:], source.shape[-2]) < _LONG


def _with_edges(arguments: Arguments) -> tuple[Array, Array, Array, Array, Array]:
    """Arguments of `pair_scores`, with zeros for weights and edges that are not given."""
    target, source, readout, weight, edge = arguments
    if weight is None or edge is None:
        weight = jnp.zeros((1, 1, 1, 1, 1), target.dtype)
        edge = jnp.zeros((1, 1, 1, target.shape[-1]), target.dtype)
    return target, source, readout, weight, edge


def _short_chunks(
    target: Array, source: Array, readout: Array, edge: Array
) -> tuple[Array, Array, Array, Array]:
    """The scan's inputs: each slice is a chunk of features, shaped to broadcast over pairs."""
    # Two at a time: enough to keep the sums in cache, few enough to compile quickly.
    chunk = 2 if target.shape[-1] % 2 == 0 else 1
    t, r, u, e = (
        jnp.moveaxis(x, -1, 0).reshape(-1, chunk, *x.shape[:-1])
        for x in (target, source, readout, edge)
    )
    return t[..., :, None], r[..., None, :], u[..., None, None], e[..., None, None]


def _short_forward(
    slope: float, target: Array, source: Array, readout: Array, weight: Array, edge: Array
) -> Array:
    """Scores by a scan over features, two at a time; the backward pass does the same."""
    chunks = _short_chunks(target, source, readout, edge)

    def add(scores: Array, chunk: tuple[Array, ...]) -> tuple[Array, None]:
        for t, r, u, e in zip(*chunk, strict=True):
            scores += u * leaky(t + r + e * weight, slope)
        return scores, None

    shape = jnp.broadcast_shapes(*(x.shape[2:] for x in chunks), weight.shape)
    scores, _ = jax.lax.scan(add, jnp.zeros(shape, target.dtype), chunks)
    return scores


def _short_backward(
    slope: float,
    gradient: Array,
    target: Array,
    source: Array,
    readout: Array,
    weight: Array,
    edge: Array,
) -> tuple[Array, Array, Array, Array, Array]:
    """Gradients of the arguments of `_short_forward`."""
    chunks = _short_chunks(target, source, readout, edge)
    # What follows is linear in dz along axes that all features share: sum over those first.
    shared = [axis for axis in range(3) if all(x.shape[axis + 2] == 1 for x in chunks)]

    def walk(
        d_weight: Array, chunk: tuple[Array, ...]
    ) -> tuple[Array, tuple[Array, Array, Array, Array]]:
        slopes = []
        for features in zip(*chunk, strict=True):
            t, r, u, e = features
            z = t + r + e * weight
            dz = gradient * jnp.where(z > 0, 1.0, slope).astype(z.dtype)
            d_weight += _sum_to(e * u * dz, weight.shape)
            by_weight = (dz * weight).sum((*shared, -2, -1), keepdims=True)
            dz = dz.sum(shared, keepdims=True)
            # u is the same for all pairs of a head: it multiplies sums, not pairs.
            by_target, by_source = dz.sum(-1, keepdims=True), dz.sum(-2, keepdims=True)
            # LeakyReLU(z) = z LeakyReLU'(z): the readout's gradient reuses the sums above.
            by_score = (t * by_target).sum(-2, keepdims=True)
            by_score += (r * by_source).sum(-1, keepdims=True) + e * by_weight
            changes = (u * by_target, u * by_source, by_score, u * by_weight)
            slopes.append([_sum_to(d, x.shape) for d, x in zip(changes, features, strict=True)])
        target, source, readout, edge = (jnp.stack(d) for d in zip(*slopes, strict=True))
        return d_weight, (target, source, readout, edge)

    d_weight, slopes = jax.lax.scan(walk, jnp.zeros_like(weight), chunks)
    d_target, d_source, d_readout, d_edge = (
        jnp.moveaxis(x.reshape(-1, *like.shape[:-1]), 0, -1)
        for x, like in zip(slopes, (target, source, readout, edge), strict=True)
    )
    return d_target, d_source, d_readout, d_weight, d_edge


def _pair_scores_forward(slope: float, arguments: Arguments) -> tuple[Array, Arguments]:
    target, source, readout, weight, edge = arguments
    chex.assert_rank([target, source, readout], [5, 5, 4])
    if weight is not None and edge is not None:
        chex.assert_rank([weight, edge], [5, 4])
    if _is_short(target, source):
        return _short_forward(slope, *_with_edges(arguments)), arguments
    u = readout[..., None]
    linear = slope * (target @ u) + (source @ u).swapaxes(-1, -2)
    if weight is not None and edge is not None:
        linear += slope * weight * jnp.sum(readout * edge, axis=-1)[..., None, None]
    # Not jnp.maximum: it propagates NaN and is slower for it.
    bent = _over_features(
        lambda p, minus_r, u: u * jnp.where(p > minus_r, p, minus_r),
        readout,
        target,
        source,
        weight,
        edge,
    )
    return linear + (1 - slope) * bent, arguments


def _pair_scores_backward(slope: float, arguments: Arguments, gradient: Array) -> tuple[Arguments]:
    target, source, readout, weight, edge = arguments
    if _is_short(target, source):
        slopes = _short_backward(slope, gradient, *_with_edges(arguments))
        return (slopes if weight is not None else (*slopes[:3], None, None),)
    transposed = None if weight is None else weight.swapaxes(-1, -2)
    by_target = _over_parents(slope, gradient, target, source, weight, edge)
    by_source = _over_parents(slope, gradient.swapaxes(-1, -2), source, target, transposed, edge)
    # LeakyReLU(z) = z LeakyReLU'(z): the readout's gradient reuses the sums above.
    nodes = 3  # the axis of nodes
    by_score = _sum(target * by_target, nodes) + _sum(source * by_source, nodes)
    d_weight = d_edge = None
    if weight is not None and edge is not None:
        by_edge = _sum(_over_parents(slope, gradient * weight, target, source, weight, edge), nodes)
        by_score += edge * by_edge
        d_edge = _sum_to(readout * by_edge, edge.shape)
        slopes = _over_features(
            lambda p, minus_r, f: jnp.where(p > minus_r, f, slope * f),
            readout * edge,
            target,
            source,
            weight,
            edge,
        )
        d_weight = _sum_to(gradient * slopes, weight.shape)
    u = readout[..., None, :]
    d_target = _sum_to(u * by_target, target.shape)
    d_source = _sum_to(u * by_source, source.shape)
    return ((d_target, d_source, _sum_to(by_score, readout.shape), d_weight, d_edge),)


_pair_scores.defvjp(_pair_scores_forward, _pair_scores_backward)
