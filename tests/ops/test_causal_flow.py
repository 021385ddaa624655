"""Causal flows against autodiff, a literal loop and structural equations written by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdis.ops import causal_flow
from cdis.ops.adjacency import order_only, topological_order
from cdis.ops.causal_flow import AFFINE, SPLINE, Mechanisms, Transform
from tests.helpers import quick_jit

B, D, H = 6, 4, 5
TRANSFORMS = pytest.mark.parametrize("transform", [AFFINE, SPLINE], ids=["affine", "spline"])
#: 0 -> 2, 1 -> 2, 2 -> 3: node 1 is no parent of 3, but leads there.
GRAPH = jnp.zeros((D, D)).at[jnp.array([2, 2, 3]), jnp.array([0, 1, 2])].set(1)
ORDER = range(D)


def _mechanisms(transform: Transform, d: int = D, seed: int = 0) -> Mechanisms:
    rng = np.random.default_rng(seed)
    # In the order of the fields of Mechanisms.
    p = transform.num_parameters
    shapes = ((d, d, H), (d, H), (d, H, H), (d, H), (d, H, p), (d, p))
    scales = (d**-0.5, 1.0, H**-0.5, 0.5, 0.5 * H**-0.5, 0.3)
    return Mechanisms(
        *(
            jnp.asarray(scale * rng.normal(size=shape), jnp.float32)
            for scale, shape in zip(scales, shapes, strict=True)
        )
    )


def _noise(rows: int = B, d: int = D, seed: int = 1, std: float = 1.5) -> jax.Array:
    # Some rows reach beyond the spline's bound, into its tails.
    eps = np.random.default_rng(seed).normal(scale=std, size=(rows, d))
    return jnp.asarray(eps, jnp.float32)


def _leads_to(graph: jax.Array) -> np.ndarray:
    """[i, j]: is there a path from j to i, of any length, i itself included?"""
    reach, edges = np.eye(len(graph)), np.asarray(graph)
    for _ in range(len(graph)):
        reach = np.eye(len(graph)) + edges @ reach
    return reach > 0


# The literal twin


def _literal_map(transform: Transform, theta: Any, eps: Any) -> Any:
    """z of one node's noise, a number, from the equations of both papers."""
    s = 3 * jnp.tanh(theta[0] / 3)
    if transform is AFFINE:
        return jnp.exp(s) * eps + theta[1]
    k, bound = causal_flow.SPLINE_BINS, causal_flow.SPLINE_BOUND
    widths = 1e-3 + (1 - 1e-3 * k) * jax.nn.softmax(theta[2 : 2 + k])
    heights = 1e-3 + (1 - 1e-3 * k) * jax.nn.softmax(theta[2 + k : 2 + 2 * k])
    inner = 1e-3 + jax.nn.softplus(theta[2 + 2 * k :] + np.log(np.exp(1 - 1e-3) - 1))
    slopes = [1.0, *inner, 1.0]
    x = [-bound + 2 * bound * sum(widths[:n]) for n in range(k + 1)]
    y = [-bound + 2 * bound * sum(heights[:n]) for n in range(k + 1)]
    bent = eps
    for n in range(k):
        slope = (y[n + 1] - y[n]) / (x[n + 1] - x[n])
        xi = (eps - x[n]) / (x[n + 1] - x[n])
        top = (y[n + 1] - y[n]) * (slope * xi**2 + slopes[n] * xi * (1 - xi))
        under = slope + (slopes[n + 1] + slopes[n] - 2 * slope) * xi * (1 - xi)
        here = (x[n] <= eps) & (eps < x[n + 1]) & (abs(eps) < bound)
        bent = jnp.where(here, y[n] + top / under, bent)
    return jnp.exp(s) * bent + theta[1]


def _literal(transform: Transform, m: Mechanisms, graph: Any, eps: Any) -> Any:
    """Factors of one row of noise, node by node and parent by parent."""
    z: list[Any] = []
    for i in range(len(graph)):
        hidden = m.hidden_bias[i]
        for j in range(i):
            hidden = hidden + graph[i, j] * z[j] * m.hidden_kernel[i, j]
        hidden = jnp.tanh(hidden) @ m.second_kernel[i] + m.second_bias[i]
        theta = jnp.tanh(hidden) @ m.output_kernel[i] + m.output_bias[i]
        z.append(_literal_map(transform, theta, eps[i]))
    return jnp.stack(z)


@TRANSFORMS
def test_forward_is_the_literal_loop_gradients_included(transform):
    m, eps, weight = _mechanisms(transform), _noise(), _noise(seed=2)

    def literal(m, eps):
        return jax.vmap(lambda row: _literal(transform, m, GRAPH, row))(eps)

    def fast(m, eps):
        return causal_flow.forward(m, GRAPH, eps, order=ORDER, transform=transform)[0]

    def with_gradient(f):
        def total(m, eps):
            z = f(m, eps)
            return jnp.sum(weight * z), z

        (_, z), slopes = quick_jit(jax.value_and_grad(total, (0, 1), has_aux=True))(m, eps)
        return z, jax.tree.leaves(slopes)

    (found, slopes), (expected, literal_slopes) = with_gradient(fast), with_gradient(literal)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    for f, e in zip(slopes, literal_slopes, strict=True):
        assert np.abs(e).max() > 1e-3
        np.testing.assert_allclose(f, e, rtol=1e-3, atol=1e-4)


@TRANSFORMS
@pytest.mark.parametrize("d", [1, 4, 64])
def test_bijection(transform, d):
    # Round trips, and log-determinants against autodiff in both directions.
    m, graph = _mechanisms(transform, d), jnp.asarray(order_only(d))
    eps = _noise(rows=3, d=d)

    def both(eps):
        z, log_det = causal_flow.forward(m, graph, eps, order=range(d), transform=transform)
        back, again = causal_flow.inverse(m, graph, z, transform=transform)
        return z, back, log_det, again

    z, back, log_det, again = quick_jit(both)(eps)
    np.testing.assert_allclose(back, eps, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(again, log_det, rtol=1e-4, atol=1e-4)

    def one(row):
        return causal_flow.forward(m, graph, row[None], order=range(d), transform=transform)[0][0]

    jacobians = np.asarray(quick_jit(jax.vmap(jax.jacfwd(one)))(eps), np.float64)
    sign, expected = np.linalg.slogdet(jacobians)
    assert (sign == 1).all()
    np.testing.assert_allclose(log_det, expected, rtol=1e-4, atol=1e-4)
    log_p = causal_flow.log_prob_of_nodes(m, graph, z, transform=transform)
    gaussian = -0.5 * (eps**2).sum(-1) - 0.5 * d * np.log(2 * np.pi)
    np.testing.assert_allclose(log_p.sum(-1), gaussian - expected, rtol=1e-4, atol=1e-3)


def test_noise_on_a_node_leaves_its_parents_exact():
    m, z = _mechanisms(AFFINE), _noise(seed=3)
    noisy = z + 0.1 * _noise(seed=4)
    found = causal_flow.log_prob_of_nodes(m, GRAPH, noisy, transform=AFFINE, parents=z)
    for i in range(D):
        # One noisy node at a time: to all others it is exact.
        one = z.at[:, i].set(noisy[:, i])
        alone = causal_flow.log_prob_of_nodes(m, GRAPH, one, transform=AFFINE)
        np.testing.assert_allclose(found[:, i], alone[:, i], rtol=1e-5)
    both = causal_flow.log_prob_of_nodes(m, GRAPH, noisy, transform=AFFINE)
    assert np.abs(np.asarray(found - both)[:, 2]).max() > 1e-3


@TRANSFORMS
@pytest.mark.parametrize("graph", [GRAPH, jnp.asarray(order_only(D))], ids=["graph", "order"])
def test_the_jacobian_is_exactly_zero_where_there_is_no_path(transform, graph):
    m, path = _mechanisms(transform), _leads_to(graph)

    def run(f):
        return np.asarray(quick_jit(jax.vmap(jax.jacfwd(lambda row: f(row[None])[0])))(_noise()))

    def forward(eps):
        return causal_flow.forward(m, graph, eps, order=ORDER, transform=transform)[0]

    jacobian = run(forward)
    assert (jacobian[:, ~path] == 0).all() and (np.abs(jacobian).max(0)[path] > 1e-4).all()
    # Abduction depends on a node and its parents alone.
    near = (np.eye(D) + np.asarray(graph)) > 0
    jacobian = run(lambda z: causal_flow.inverse(m, graph, z, transform=transform)[0])
    assert (jacobian[:, ~near] == 0).all() and (np.abs(jacobian).max(0)[near] > 1e-4).all()


def test_a_spline_is_affine_at_zero_and_in_its_tails():
    eps = jnp.linspace(-9, 9, 31)
    theta = jnp.zeros((31, SPLINE.num_parameters)).at[:, :2].set(jnp.array([0.3, -1.2]))
    for value, of_affine in zip(
        SPLINE.forward(theta, eps), AFFINE.forward(theta[:, :2], eps), strict=True
    ):
        np.testing.assert_allclose(value, of_affine, rtol=1e-5, atol=1e-5)
    theta = theta.at[:, 2:].set(_noise(31, SPLINE.num_parameters - 2))
    z, log_slope = SPLINE.forward(theta, eps)
    tails = np.abs(eps) > causal_flow.SPLINE_BOUND
    straight, log_scale = AFFINE.forward(theta[:, :2], eps)
    np.testing.assert_allclose(z[tails], straight[tails], rtol=1e-5)
    np.testing.assert_allclose(log_slope[tails], log_scale[tails], rtol=1e-5)
    assert np.abs(z - straight)[~tails].max() > 0.1


# Interventions


def _linear_scm(edges: np.ndarray, offset: np.ndarray, log_scale: np.ndarray) -> Mechanisms:
    """`z_i = sum_j edges[i, j] z_j + offset_i + exp(log_scale_i) eps_i`, nearly.

    tanh is straight close to zero: hidden unit j of node i sees a thousandth of z_j.
    """
    d = len(edges)
    small = 1e-3
    kernel = np.zeros((d, d, d), np.float32)
    output = np.zeros((d, d, 2), np.float32)
    for i, j in np.ndindex(d, d):
        kernel[i, j, j] = small
        output[i, j, 1] = edges[i, j] / small
    raw = 3 * np.arctanh(log_scale / 3)
    bias = np.stack([raw, offset], -1).astype(np.float32)
    none, same = np.zeros((d, d), np.float32), np.tile(np.eye(d, dtype=np.float32), (d, 1, 1))
    arrays = (kernel, none, same, none, output, bias)
    return Mechanisms(*(jnp.asarray(array) for array in arrays))


EDGES = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0.8, -1.5, 0, 0], [0, 0, 2.0, 0]])
OFFSET, LOG_SCALE = np.array([0.1, -0.2, 0.3, 0.4]), np.array([0.0, 0.5, -1.0, 0.2])
SCM = _linear_scm(EDGES, OFFSET, LOG_SCALE)


def test_counterfactuals_of_a_linear_scm():
    rng = np.random.default_rng(3)
    z = rng.normal(size=(8, D))
    fixed = np.zeros((8, D), bool)
    fixed[np.arange(8), np.arange(8) % D] = True  # each row another node
    fixed[7, :2] = True  # several at once
    values = rng.normal(size=(8, D))
    expected = np.zeros_like(z)
    for b in range(8):
        for i in range(D):
            # Abduction of the noise term as a whole, action, prediction.
            noise = z[b, i] - EDGES[i] @ z[b] - OFFSET[i]
            follows = EDGES[i] @ expected[b] + OFFSET[i] + noise
            expected[b, i] = values[b, i] if fixed[b, i] else follows
    z32, values32 = jnp.asarray(z, jnp.float32), jnp.asarray(values, jnp.float32)
    found = causal_flow.counterfactual(
        SCM, GRAPH, z32, jnp.asarray(fixed), values32, order=ORDER, transform=AFFINE
    )
    np.testing.assert_allclose(found, expected, atol=2e-4)
    assert (np.asarray(found)[fixed] == np.asarray(values32)[fixed]).all()


#: A new place for each node, in which node 3, an effect, comes first.
PLACES = np.array([3, 1, 0, 2])


def _permuted(m: Mechanisms, places: np.ndarray) -> Mechanisms:
    """The same nodes, node `places[k]` in place k; hidden kernels have an axis of parents too."""
    moved = jax.tree.map(lambda array: array[places], m)
    return moved._replace(hidden_kernel=moved.hidden_kernel[:, places])


@TRANSFORMS
def test_nodes_may_be_listed_in_any_order(transform):
    m, eps, values = _mechanisms(transform), _noise(), _noise(seed=5)
    fixed = jnp.zeros((B, D), bool).at[:, 1].set(True).at[::2, 2].set(True)
    z, log_det = causal_flow.forward(m, GRAPH, eps, order=ORDER, transform=transform)
    then = causal_flow.counterfactual(m, GRAPH, z, fixed, values, order=ORDER, transform=transform)
    graph = GRAPH[np.ix_(PLACES, PLACES)]
    order = topological_order(np.asarray(graph))
    assert np.triu(graph).any() and order != tuple(range(D))
    moved, options = _permuted(m, PLACES), {"order": order, "transform": transform}
    found, found_log_det = causal_flow.forward(moved, graph, eps[:, PLACES], **options)
    np.testing.assert_allclose(found, z[:, PLACES], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found_log_det, log_det, rtol=1e-5, atol=1e-6)
    found = causal_flow.counterfactual(
        moved, graph, z[:, PLACES], fixed[:, PLACES], values[:, PLACES], **options
    )
    np.testing.assert_allclose(found, then[:, PLACES], rtol=1e-5, atol=1e-5)
    # In the order of the list, effects would be computed before their causes.
    listed = causal_flow.forward(moved, graph, eps[:, PLACES], order=ORDER, transform=transform)
    assert np.abs(listed[0] - z[:, PLACES]).max() > 0.1


@TRANSFORMS
def test_nothing_intervened_is_nothing_changed(transform):
    m, z = _mechanisms(transform), _noise()
    nothing = jnp.zeros(z.shape, bool)
    found = causal_flow.counterfactual(
        m, GRAPH, z, nothing, jnp.full_like(z, 9), order=ORDER, transform=transform
    )
    np.testing.assert_allclose(found, z, rtol=1e-5, atol=1e-5)


def test_samples_have_the_moments_of_a_linear_scm():
    mixing = np.linalg.inv(np.eye(D) - EDGES)
    noise = np.diag(np.exp(2 * LOG_SCALE))

    def check(samples, mean, covariance):
        np.testing.assert_allclose(np.mean(samples, 0), mean, atol=0.15)
        np.testing.assert_allclose(np.cov(np.asarray(samples).T), covariance, rtol=0.1, atol=0.15)

    n = 20_000
    eps = jax.random.normal(jax.random.key(0), (n, D))
    samples, _ = causal_flow.forward(SCM, GRAPH, eps, order=ORDER, transform=AFFINE)
    check(samples, mixing @ OFFSET, mixing @ noise @ mixing.T)
    # do(z_2 = 1.5): its row of equations is replaced.
    fixed, values = jnp.zeros((n, D), bool).at[:, 2].set(True), jnp.full((n, D), 1.5)
    samples = causal_flow.intervene(SCM, GRAPH, eps, fixed, values, order=ORDER, transform=AFFINE)
    edges, offset, noise = EDGES.copy(), OFFSET.copy(), noise.copy()
    edges[2], offset[2], noise[2] = 0, 1.5, 0
    mixing = np.linalg.inv(np.eye(D) - edges)
    check(samples, mixing @ offset, mixing @ noise @ mixing.T)


# Edge strengths


def test_edge_strength_by_hand():
    # d t_i / dz_j is the edge of a linear model, and s does not depend on z.
    found = causal_flow.edge_strength(SCM, GRAPH, _noise(), transform=AFFINE)
    np.testing.assert_allclose(found, np.abs(EDGES), atol=1e-3)


@TRANSFORMS
def test_edge_strength_against_differences(transform):
    m, z, levels, h = _mechanisms(transform), _noise(), (-1.0, 0.5), 1e-2
    m64 = jax.tree.map(lambda x: x, m)
    squares = np.zeros((D, D))
    for level in levels:
        for j in range(D):
            step = h * jnp.eye(D)[j]
            high, low = (
                transform.forward(
                    causal_flow.map_parameters(m64, GRAPH, z + sign * step),
                    jnp.full(z.shape, level),
                )
                for sign in (1, -1)
            )
            for up, down in zip(high, low, strict=True):
                difference = (np.asarray(up) - np.asarray(down)) / (2 * h)
                squares[:, j] += (difference**2).mean(0) / len(levels)
    found = causal_flow.edge_strength(m, GRAPH, z, transform=transform, noise=levels)
    np.testing.assert_allclose(found, np.sqrt(squares), rtol=3e-2, atol=2e-3)
    edges = np.asarray(GRAPH) == 1
    assert (np.asarray(found)[~edges] == 0).all() and (np.asarray(found)[edges] > 0).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda m: causal_flow.forward(m, GRAPH[:3, :3], _noise(), order=ORDER, transform=AFFINE),
        lambda m: causal_flow.inverse(m, GRAPH, _noise(d=3), transform=AFFINE),
        lambda m: causal_flow.forward(m, GRAPH, _noise()[0], order=ORDER, transform=AFFINE),
        lambda m: causal_flow.intervene(
            m, GRAPH, _noise(), jnp.zeros(D, bool), _noise(), order=ORDER, transform=AFFINE
        ),
        lambda m: causal_flow.forward(m, GRAPH, _noise(), order=(0, 1, 1, 2), transform=AFFINE),
        lambda m: causal_flow.edge_strength(m, GRAPH, _noise()[0], transform=AFFINE),
    ],
)
def test_wrong_shapes_raise(call):
    with pytest.raises(AssertionError):
        call(_mechanisms(AFFINE))
