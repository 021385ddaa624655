"""Causal flows: exogenous noise eps to endogenous factors z along a causal graph.

`z_i = T(eps_i; theta_i(pa_i))`, with parents `pa_i = {z_j : adjacency[i, j] = 1}` and a map T that
increases in eps (Fan, Kou and Gao, arXiv 2304.09010, with an affine T). The graph has no cycles:
sorted so that causes come before effects, the Jacobian dz / deps is triangular, and its
log-determinant is the sum of the log slopes. `adjacency[i, j]` is the edge into i from j. With an
edge from every j < i this is an ordinary autoregressive flow, which uses the order alone
(`cdis.ops.adjacency.order_only`).

Each node has its own small network; `Mechanisms` stacks them. eps -> z goes node by node, in an
`order` with causes before effects (`cdis.ops.adjacency.topological_order`); nodes may be listed in
any other. z -> eps is a single pass, since all parents are known. Both directions return the
log-determinant of eps -> z.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from cdis.ops import gaussian

_MAX_LOG_SCALE = 3.0
_MIN_BIN, _MIN_SLOPE = 1e-3, 1e-3  # fraction of the interval; slope at a knot
SPLINE_BINS, SPLINE_BOUND = 8, 4.0


class Mechanisms(NamedTuple):
    """A network of two hidden layers per node, from its parents to the parameters of its map.

    One layer bends too slowly where a mechanism has a kink, such as a shadow of least length.
    """

    hidden_kernel: Float[Array, "d d h"]  #: [i, j]: weights from z_j to the hidden units of node i
    hidden_bias: Float[Array, "d h"]
    second_kernel: Float[Array, "d h h"]
    second_bias: Float[Array, "d h"]
    output_kernel: Float[Array, "d h p"]
    output_bias: Float[Array, "d p"]


class Transform(NamedTuple):
    """A family of increasing maps of the real line with `num_parameters` parameters.

    Both directions are `(theta [..., p], value [...]) -> (value [...], log dz/deps [...])`.
    """

    num_parameters: int
    forward: Callable[[Array, Array], tuple[Array, Array]]
    inverse: Callable[[Array, Array], tuple[Array, Array]]


def forward(
    mechanisms: Mechanisms,
    adjacency: Float[Array, "d d"],
    eps: Float[Array, "b d"],
    *,
    order: Sequence[int],
    transform: Transform,
) -> tuple[Float[Array, "b d"], Float[Array, " b"]]:
    """Noise to factors, node by node, and `log |det dz/deps| = sum_i log dT/deps_i`.

    Standard normal noise gives a sample from the observational distribution.
    """
    nothing = jnp.zeros(eps.shape, bool)
    return _node_by_node(mechanisms, adjacency, eps, nothing, eps, order, transform)


def inverse(
    mechanisms: Mechanisms,
    adjacency: Float[Array, "d d"],
    z: Float[Array, "b d"],
    *,
    transform: Transform,
) -> tuple[Float[Array, "b d"], Float[Array, " b"]]:
    """Factors to noise (abduction), all nodes at once, and the log-determinant of `forward`."""
    eps, log_slope = transform.inverse(map_parameters(mechanisms, adjacency, z), z)
    return eps, log_slope.sum(-1)


def log_prob_of_nodes(
    mechanisms: Mechanisms,
    adjacency: Float[Array, "d d"],
    z: Float[Array, "b d"],
    *,
    transform: Transform,
    parents: Float[Array, "b d"] | None = None,
) -> Float[Array, "b d"]:
    """`log p(z_i | pa_i)` of each node; their sum is `log N(F^-1(z); 0, I) - log |det dF/deps|`.

    `parents` holds the values of all nodes as parents, if they differ from z: where z is noisy, the
    density given exact parents is wanted.
    """
    theta = map_parameters(mechanisms, adjacency, z if parents is None else parents)
    eps, log_slope = transform.inverse(theta, z)
    return gaussian.log_prob(eps) - log_slope


def intervene(
    mechanisms: Mechanisms,
    adjacency: Float[Array, "d d"],
    eps: Float[Array, "b d"],
    fixed: Bool[Array, "b d"],
    values: Float[Array, "b d"],
    *,
    order: Sequence[int],
    transform: Transform,
) -> Float[Array, "b d"]:
    """Factors under `do(z_i = values_i)` where `fixed`; every other node follows its parents.

    Standard normal eps gives a sample from the interventional distribution, abducted eps a
    counterfactual (Pearl, "Causality", 2009, section 7.1).
    """
    return _node_by_node(mechanisms, adjacency, eps, fixed, values, order, transform)[0]


def counterfactual(
    mechanisms: Mechanisms,
    adjacency: Float[Array, "d d"],
    z: Float[Array, "b d"],
    fixed: Bool[Array, "b d"],
    values: Float[Array, "b d"],
    *,
    order: Sequence[int],
    transform: Transform,
) -> Float[Array, "b d"]:
    """What z would have been under `do`: abduct the noise, set `fixed`, recompute the others."""
    eps, _ = inverse(mechanisms, adjacency, z, transform=transform)
    return intervene(mechanisms, adjacency, eps, fixed, values, order=order, transform=transform)


def edge_strength(
    mechanisms: Mechanisms,
    adjacency: Float[Array, "d d"],
    z: Float[Array, "b d"],
    *,
    transform: Transform,
    noise: tuple[float, ...] = (0.0,),
) -> Float[Array, "d d"]:
    """`J_ij`: root mean square over the rows of z of `d(log slope, value)_i / dz_j` at fixed noise.

    At eps_i = 0 the value of an affine map is t_i and its log slope s_i, so J_ij measures
    `d(s_i, t_i) / dz_j`. A map with more parameters needs an average over several levels of
    `noise`. Network weights are no substitute: one layer can undo the scale of another.
    """
    chex.assert_rank(z, 2)

    def at(level: float) -> Array:
        def maps(row: Float[Array, " d"]) -> Float[Array, "2 d"]:
            theta = map_parameters(mechanisms, adjacency, row[None])[0]
            return jnp.stack(transform.forward(theta, jnp.full(row.shape, level)))

        return jnp.square(jax.vmap(jax.jacfwd(maps))(z)).sum(1).mean(0)

    return jnp.sqrt(jnp.mean(jnp.stack([at(level) for level in noise]), axis=0))


def map_parameters(
    mechanisms: Mechanisms, adjacency: Float[Array, "d d"], z: Float[Array, "b d"]
) -> Float[Array, "b d p"]:
    """`theta_i(pa_i)` for all nodes in one pass."""
    _check(mechanisms, adjacency, z)
    return jax.vmap(_node_parameters, in_axes=(0, 0, None), out_axes=1)(mechanisms, adjacency, z)


def _node_parameters(
    mechanism: Mechanisms, parents: Float[Array, " d"], z: Float[Array, "b d"]
) -> Float[Array, "b p"]:
    """theta of one node, whose arrays have no leading axis; zeros mask all but its parents."""
    hidden = jnp.tanh((z * parents) @ mechanism.hidden_kernel + mechanism.hidden_bias)
    hidden = jnp.tanh(hidden @ mechanism.second_kernel + mechanism.second_bias)
    return hidden @ mechanism.output_kernel + mechanism.output_bias


def _node_by_node(
    mechanisms: Mechanisms,
    adjacency: Float[Array, "d d"],
    eps: Float[Array, "b d"],
    fixed: Bool[Array, "b d"],
    values: Float[Array, "b d"],
    order: Sequence[int],
    transform: Transform,
) -> tuple[Float[Array, "b d"], Float[Array, " b"]]:
    """z, with `fixed` nodes at their values, and the sum of the other nodes' log slopes.

    A scan over nodes compiles one body for any number of nodes.
    """
    _check(mechanisms, adjacency, eps)
    chex.assert_equal_shape([eps, fixed, values])
    visited, listed = list(order), list(range(len(adjacency)))
    chex.assert_equal(sorted(visited), listed)

    def node(z: Array, inputs: tuple[Any, ...]) -> tuple[Array, Array]:
        i, mechanism, parents, eps_i, fixed_i, value_i = inputs
        z_i, log_slope = transform.forward(_node_parameters(mechanism, parents, z), eps_i)
        z_i = jnp.where(fixed_i, value_i, z_i)
        return z.at[:, i].set(z_i), jnp.where(fixed_i, 0.0, log_slope)

    nodes = (jnp.arange(len(adjacency)), mechanisms, adjacency, eps.T, fixed.T, values.T)
    if visited != listed:  # to gather in vain would change the last bits of compiled programs
        nodes = jax.tree.map(lambda array: array[np.array(visited)], nodes)
    z, log_slopes = jax.lax.scan(node, jnp.zeros_like(eps), nodes)
    return z, log_slopes.sum(0)


def _check(mechanisms: Mechanisms, adjacency: Array, z: Array) -> None:
    d = z.shape[-1]
    chex.assert_shape(z, (None, d))
    chex.assert_shape(adjacency, (d, d))
    chex.assert_tree_shape_prefix(mechanisms, (d,))
    chex.assert_axis_dimension(mechanisms.hidden_kernel, 1, d)


# Affine


def _bounded(raw: Array) -> Array:
    """The log scale s, bounded to (-3, 3), with slope one at zero."""
    return _MAX_LOG_SCALE * jnp.tanh(raw / _MAX_LOG_SCALE)


def _affine(theta: Float[Array, "*b 2"], eps: Float[Array, "*b"]) -> tuple[Array, Array]:
    """`z = exp(s) eps + t` (arXiv 2304.09010)."""
    log_scale = _bounded(theta[..., 0])
    return jnp.exp(log_scale) * eps + theta[..., 1], log_scale


def _affine_inverse(theta: Float[Array, "*b 2"], z: Float[Array, "*b"]) -> tuple[Array, Array]:
    log_scale = _bounded(theta[..., 0])
    return (z - theta[..., 1]) * jnp.exp(-log_scale), log_scale


# Rational-quadratic spline


class _Bin(NamedTuple):
    """The bin that each value falls into: its corner, its size and the slopes at both ends."""

    left: Array
    bottom: Array
    width: Array
    height: Array
    slope_left: Array
    slope_right: Array


def _knots(raw: Float[Array, "*b k"]) -> Float[Array, "*b k1"]:
    """Increasing knots from -SPLINE_BOUND to SPLINE_BOUND; equidistant at raw = 0."""
    share = _MIN_BIN + (1 - _MIN_BIN * SPLINE_BINS) * jax.nn.softmax(raw, axis=-1)
    inner = jnp.cumsum(share, axis=-1)[..., :-1]
    knots = jnp.pad(inner, [(0, 0)] * (raw.ndim - 1) + [(1, 0)])
    knots = jnp.pad(knots, [(0, 0)] * (raw.ndim - 1) + [(0, 1)], constant_values=1.0)
    return SPLINE_BOUND * (2 * knots - 1)


def _bin_of(theta: Float[Array, "*b p"], value: Float[Array, "*b"], of_output: bool) -> _Bin:
    """The bin of `value`, an output of the spline if `of_output`, else an input."""
    raw_widths, raw_heights, raw_slopes = jnp.split(theta, [SPLINE_BINS, 2 * SPLINE_BINS], axis=-1)
    x, y = _knots(raw_widths), _knots(raw_heights)
    # Shifted so that zero gives a slope of one; the two ends have slope one to meet the tails.
    slopes = _MIN_SLOPE + jax.nn.softplus(raw_slopes + np.log(np.expm1(1 - _MIN_SLOPE)))
    slopes = jnp.pad(slopes, [(0, 0)] * (theta.ndim - 1) + [(1, 1)], constant_values=1.0)
    inner = (y if of_output else x)[..., 1:-1]
    index = jnp.sum(value[..., None] >= inner, axis=-1, keepdims=True)

    def at(array: Array, offset: int) -> Array:
        return jnp.take_along_axis(array, index + offset, axis=-1)[..., 0]

    left, bottom = at(x, 0), at(y, 0)
    return _Bin(left, bottom, at(x, 1) - left, at(y, 1) - bottom, at(slopes, 0), at(slopes, 1))


def _log_slope(b: _Bin, share: Array) -> Array:
    """Log slope of the spline at the fraction `share` of the bin's width."""
    rest, delta = 1 - share, b.height / b.width
    numerator = b.slope_right * share**2 + 2 * delta * share * rest + b.slope_left * rest**2
    denominator = delta + (b.slope_left + b.slope_right - 2 * delta) * share * rest
    return 2 * jnp.log(delta) + jnp.log(numerator) - 2 * jnp.log(denominator)


def _spline(theta: Float[Array, "*b p"], eps: Float[Array, "*b"]) -> tuple[Array, Array]:
    """A rational-quadratic spline with identity tails, followed by an affine map.

    Durkan, Bekasov, Murray and Papamakarios, "Neural Spline Flows" (2019), equations 4 and 5. The
    affine parameters come first in theta; a straight spline leaves the affine flow.
    """
    inside = jnp.abs(eps) < SPLINE_BOUND
    x = jnp.where(inside, eps, 0.0)
    b = _bin_of(theta[..., 2:], x, of_output=False)
    share = (x - b.left) / b.width
    rest, delta = 1 - share, b.height / b.width
    numerator = b.height * (delta * share**2 + b.slope_left * share * rest)
    denominator = delta + (b.slope_left + b.slope_right - 2 * delta) * share * rest
    bent = jnp.where(inside, b.bottom + numerator / denominator, eps)
    z, log_scale = _affine(theta[..., :2], bent)
    return z, log_scale + jnp.where(inside, _log_slope(b, share), 0.0)


def _spline_inverse(theta: Float[Array, "*b p"], z: Float[Array, "*b"]) -> tuple[Array, Array]:
    """Inverse of `_spline`: solves a quadratic in each bin (equations 6 to 8)."""
    bent, log_scale = _affine_inverse(theta[..., :2], z)
    inside = jnp.abs(bent) < SPLINE_BOUND
    y = jnp.where(inside, bent, 0.0)
    bin_ = _bin_of(theta[..., 2:], y, of_output=True)
    delta, up = bin_.height / bin_.width, y - bin_.bottom
    bow = bin_.slope_left + bin_.slope_right - 2 * delta
    a = bin_.height * (delta - bin_.slope_left) + up * bow
    b = bin_.height * bin_.slope_left - up * bow
    c = -delta * up
    share = 2 * c / (-b - jnp.sqrt(jnp.maximum(b**2 - 4 * a * c, 0.0)))
    eps = jnp.where(inside, bin_.left + share * bin_.width, bent)
    return eps, log_scale + jnp.where(inside, _log_slope(bin_, share), 0.0)


AFFINE = Transform(2, _affine, _affine_inverse)
SPLINE = Transform(2 + 3 * SPLINE_BINS - 1, _spline, _spline_inverse)
