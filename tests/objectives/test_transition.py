"""Losses of the causal transition against loops over the equations."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdis.objectives import transition

B, S, N, K = 2, 3, 4, 5


@pytest.fixture(scope="module")
def edges():
    return np.random.default_rng(0).uniform(0.05, 0.95, (B, S, N, N)).astype(np.float32)


@pytest.fixture(scope="module")
def gates():
    return np.random.default_rng(1).integers(0, 2, (B, S, N, N)).astype(np.float32)


def test_node_cross_entropy():
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(B, N, K)).astype(np.float32)
    codes, target = rng.integers(0, K, (B, N)), np.zeros((B, N, K), np.float32)
    losses = np.zeros(B)
    for b, n in np.ndindex(B, N):
        p = np.exp(logits[b, n]) / np.exp(logits[b, n]).sum()
        losses[b] -= np.log(p[codes[b, n]]) / N
        target[b, n, codes[b, n]] = 1
    weight = np.arange(B, dtype=np.float32)
    logits, target, given = map(jnp.asarray, (logits, target, weight))
    for found, expected in (
        (transition.node_cross_entropy(logits, target), losses.mean()),
        (transition.node_cross_entropy(logits, target, given), (weight * losses).mean()),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_edge_divergence(edges, rate):
    expected = 0.0
    for alpha in edges.ravel():
        expected += alpha * np.log(alpha / rate) + (1 - alpha) * np.log((1 - alpha) / (1 - rate))
    found = transition.edge_divergence(edges, rate=rate)
    np.testing.assert_allclose(found, expected / edges.size, rtol=1e-4)
    at_prior = transition.edge_divergence(jnp.full((1, 1, N, N), rate), rate=rate)
    np.testing.assert_allclose(at_prior, 0, atol=1e-6)


def test_random_edge_divergence(edges):
    key, graphs = jax.random.key(0), edges[:, 0]
    target, expected = np.asarray(jax.random.uniform(key, (B, N * N))), 0.0
    for u, alpha in zip(target, graphs.reshape(B, -1), strict=True):
        p, q = (np.exp(x) / np.exp(x).sum() for x in (u, alpha))
        expected += np.sum(p * np.log(p / q)) / B
    found = transition.random_edge_divergence(key, jnp.asarray(graphs))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    # It does not see how many edges there are.
    fewer = transition.random_edge_divergence(key, jnp.asarray(graphs - 0.04))
    np.testing.assert_allclose(fewer, found, rtol=1e-4)


def test_graph_size(gates):
    roots = [np.sqrt(gates[b, s].sum()) for b, s in np.ndindex(B, S)]
    np.testing.assert_allclose(transition.graph_size(gates), np.mean(roots), rtol=1e-5)


def test_orphan_penalty(edges):
    norms = []
    for b, s in np.ndindex(B, S):
        squares = 0.0
        for i in range(N):
            orphan = 1.0
            for j in range(N):  # parents of i stand in row i
                orphan *= 1 - edges[b, s, i, j]
            squares += orphan**2
        norms.append(np.sqrt(squares))
    np.testing.assert_allclose(transition.orphan_penalty(edges), np.mean(norms), rtol=1e-3)
    # One certain parent each is enough, whichever it is; one parent of all nodes is as good.
    ring = np.roll(np.eye(N), 1, axis=1)[None, None]
    np.testing.assert_allclose(transition.orphan_penalty(jnp.asarray(ring)), 0, atol=1e-3)
    common_parent = jnp.zeros((1, 1, N, N)).at[..., 0].set(1.0)
    np.testing.assert_allclose(transition.orphan_penalty(common_parent), 0, atol=1e-3)
    without_parents = jnp.zeros((1, 1, N, N)).at[:, :, 0].set(1.0)
    np.testing.assert_allclose(
        transition.orphan_penalty(without_parents), np.sqrt(N - 1), rtol=1e-4
    )


def test_identity_distance(gates):
    expected = 0.0
    for b, s, i, j in np.ndindex(*gates.shape):
        expected += (gates[b, s, i, j] - (i == j)) ** 2
    np.testing.assert_allclose(
        transition.identity_distance(gates), expected / gates.size, rtol=1e-5
    )
    assert transition.identity_distance(jnp.eye(N)[None, None]) == 0


def test_graph_terms(edges, gates):
    assert transition.graph_terms(edges, gates, rate=0.2) == {
        "edge_prior": transition.edge_divergence(edges, rate=0.2),
        "graph_size": transition.graph_size(gates),
        "orphans": transition.orphan_penalty(edges),
    }


def test_retrieval_loss_and_accuracy():
    p = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.1, 0.8, 0.1]], np.float32)
    action, log_p = jnp.array([0, 0, 1]), jnp.asarray(np.log(p))
    expected = -(np.log(0.7) + np.log(0.3) + np.log(0.8)) / 3
    np.testing.assert_allclose(transition.retrieval_loss(log_p, action), expected, rtol=1e-5)
    weighted = transition.retrieval_loss(log_p, action, jnp.array([2.0, 0.0, 1.0]))
    np.testing.assert_allclose(weighted, -(2 * np.log(0.7) + np.log(0.8)) / 3, rtol=1e-5)
    np.testing.assert_allclose(transition.retrieval_accuracy(log_p, action), 2 / 3, rtol=1e-6)
    known = jnp.array([-1, 0, 1])
    np.testing.assert_allclose(transition.retrieval_accuracy(log_p, known), 1 / 2, rtol=1e-6)
    assert transition.retrieval_accuracy(log_p, jnp.full(3, -1)) == 0


@pytest.mark.parametrize("value", [0.0, 1.0], ids=["empty", "complete"])
def test_gradients_are_finite_at_the_extremes(value):
    graph = jnp.full((1, 1, N, N), value)
    for loss in (
        lambda x: transition.edge_divergence(x, rate=0.1),
        transition.graph_size,
        transition.orphan_penalty,
    ):
        slope = jax.grad(loss)(graph)
        assert np.isfinite(loss(graph)) and np.isfinite(slope).all()


def _movements(seed=4):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 12, N, 2)).astype(np.float32)
    return x, y, np.tile(np.arange(3), 4).astype(np.int32)


def _node_sharing_twin(x, y, factor, num_factors, floor, weight):
    """The equation term by term, differentiable."""
    share = []
    for f in range(num_factors):
        rows = np.flatnonzero(factor == f)
        moved = [
            sum(weight[b] * jnp.sum((y[b, n] - x[b, n]) ** 2) for b in rows)
            / max(weight[rows].sum(), 1)
            + floor / N
            for n in range(N)
        ]
        share.append([m / sum(moved) for m in moved])
    pairs = [(f, g) for f in range(num_factors) for g in range(f)]
    return sum(share[f][n] * share[g][n] for f, g in pairs for n in range(N))


@pytest.mark.parametrize("weighted", [False, True])
def test_node_sharing(weighted):
    x, y, factor = _movements()
    weight = np.linspace(0, 1, 12, dtype=np.float32) if weighted else np.ones(12)
    # No pair changes factor 3 of 4: only the floor is left of it.
    options: dict[str, Any] = {"num_factors": 4, "floor": 0.3}
    options |= {"weight": jnp.asarray(weight)} if weighted else {}
    fast = jax.value_and_grad(
        lambda x, y: transition.node_sharing(x, y, jnp.asarray(factor), **options), argnums=(0, 1)
    )
    slow = jax.value_and_grad(
        lambda x, y: _node_sharing_twin(x, y, factor, 4, 0.3, weight), argnums=(0, 1)
    )
    for found, expected in zip(
        jax.tree.leaves(fast(x, y)), jax.tree.leaves(slow(x, y)), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_node_sharing_at_its_extremes():
    x = np.zeros((12, N, 2), np.float32)
    factor = jnp.asarray(_movements()[2])
    options = {"num_factors": 3, "floor": 1e-6}
    own = x.copy()
    own[np.arange(12), factor] = 1.0
    apart = transition.node_sharing(jnp.asarray(x), jnp.asarray(own), factor, **options)
    np.testing.assert_allclose(apart, 0, atol=1e-5)
    for still in (x + 1, x):  # all move all nodes alike; nothing moves at all
        shared = transition.node_sharing(jnp.asarray(x), jnp.asarray(still), factor, **options)
        np.testing.assert_allclose(shared, 3 / N, rtol=1e-5)  # of three pairs of factors


def test_a_factor_alone_shares_nothing():
    x, y, _ = _movements()
    assert transition.node_sharing(x, y, jnp.zeros(12, jnp.int32), num_factors=1) == 0


def test_node_sharing_covers_the_batch_of_all_devices():
    x, y, factor = _movements()
    whole = transition.node_sharing(x, y, jnp.asarray(factor), num_factors=3)
    halves = [part.reshape(2, 6, *part.shape[1:]) for part in (x, y, factor)]
    shared = jax.vmap(
        lambda x, y, factor: transition.node_sharing(x, y, factor, num_factors=3, axis_name="data"),
        axis_name="data",
    )(*halves)
    np.testing.assert_allclose(shared, [whole, whole], rtol=1e-5)
