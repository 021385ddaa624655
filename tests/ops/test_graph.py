"""Causal-graph ops against the equations as they are written: loops, and explicit pairs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdis.ops import graph

B, S, G, N, H = 2, 3, 2, 4, 4  # images, actions, heads, nodes, features of a head
A, K = 3, 5  # actions and codes


def _normal(seed: int, *shape: Any) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _leaky(x):
    return np.where(x > 0, x, 0.2 * x)


# Gates


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_gates_are_bernoulli(temperature):
    logits = np.array([-2.0, -0.5, 0.0, 1.0, 3.0], np.float32)
    samples = 4000
    gates = graph.straight_through_bernoulli(
        jax.random.key(0), jnp.tile(logits, (samples, 1)), temperature=temperature
    )
    assert set(np.unique(gates)) == {0, 1}
    p = _sigmoid(logits)
    deviation = np.sqrt(p * (1 - p) / samples)
    np.testing.assert_array_less(np.abs(np.asarray(gates).mean(0) - p), 4 * deviation)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_gates_have_the_gradient_of_the_relaxation(temperature):
    logits, weight, key = _normal(0, 6), _normal(1, 6), jax.random.key(1)

    def gated(logits, key):
        gates = graph.straight_through_bernoulli(key, logits, temperature=temperature)
        return jnp.sum(weight * gates)

    for noise, key_or_none in ((jax.random.logistic(key, (6,)), key), (np.zeros(6), None)):
        relaxed = _sigmoid((logits + noise) / temperature)
        expected = weight * relaxed * (1 - relaxed) / temperature
        found = jax.grad(gated)(logits, key_or_none)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_gates_without_a_key_are_deterministic():
    logits = jnp.array([-3.0, -1e-3, 0.0, 1e-3, 3.0])
    gates = graph.straight_through_bernoulli(None, logits)
    np.testing.assert_array_equal(gates, [0, 0, 0, 1, 1])


# Positions and masks


@pytest.mark.parametrize("width", [1, 5, 6])
def test_sinusoidal_positions(width):
    expected = np.zeros((N, width))
    for n, d in np.ndindex(N, width):
        angle = n / 10_000 ** ((d - d % 2) / width)
        expected[n, d] = np.cos(angle) if d % 2 else np.sin(angle)
    np.testing.assert_allclose(graph.sinusoidal_positions(N, width), expected, atol=1e-5)


def test_additive_mask_logits():
    width = 3
    weight, bias = _normal(2, A + width, K), _normal(3, K)
    positions = _normal(4, N, width)
    expected = np.zeros((A, N, K))
    for a, n in np.ndindex(A, N):
        expected[a, n] = np.concatenate([np.eye(A)[a], positions[n]]) @ weight + bias
    found = graph.additive_mask_logits(weight[:A], weight[A:], bias, positions)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    # Additive: the difference between two actions is the same on every node.
    np.testing.assert_allclose(
        found[0] - found[1], (found[0] - found[1])[:1].repeat(N, 0), atol=1e-5
    )


@pytest.fixture(scope="module")
def coded():
    """Codes of images, one-hot, an action for each image, and a mask table."""
    one_hot = np.eye(K, dtype=np.float32)[np.random.default_rng(5).integers(0, K, (B, N))]
    return one_hot, np.array([2, 0]), jnp.asarray(3 * _normal(6, A, N, K))


def test_intervention_mask_is_bernoulli(coded):
    one_hot, action, table = coded
    samples = 3000
    masks = jax.jit(
        jax.vmap(lambda key: graph.intervention_mask(key, one_hot, table, jnp.asarray(action)))
    )(jax.random.split(jax.random.key(0), samples))
    assert masks.shape == (samples, B, N)
    assert set(np.unique(masks)) == {0, 1}
    for b, n in np.ndindex(B, N):
        p = one_hot[b, n] @ _sigmoid(np.asarray(table[action[b], n]))
        assert abs(masks[:, b, n].mean() - p) < 4 * np.sqrt(p * (1 - p) / samples) + 1e-3


def test_intervention_mask_without_a_key(coded):
    one_hot, action, table = coded
    probability = np.einsum("bnk,ank->ban", one_hot, _sigmoid(np.asarray(table)))
    every = graph.intervention_mask(None, one_hot, table, None)
    np.testing.assert_array_equal(every, probability > 0.5)
    mine = graph.intervention_mask(None, one_hot, table, jnp.asarray(action))
    np.testing.assert_array_equal(mine, np.asarray(every)[np.arange(B), action])


def test_intervention_mask_has_the_gradient_of_its_probability(coded):
    one_hot, action, table = coded
    weight = _normal(7, B, N)

    def mask(table):
        return jnp.sum(weight * graph.intervention_mask(None, one_hot, table, jnp.asarray(action)))

    def probability(table):
        return jnp.sum(weight * jnp.sum(one_hot * jax.nn.sigmoid(table[action]), axis=-1))

    expected, found = jax.grad(probability)(table), jax.grad(mask)(table)
    assert np.abs(expected).max() > 1e-2
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


# Edges and messages


def test_intervened_edges():
    base, acted = _sigmoid(_normal(0, B, 1, N, N)), _sigmoid(_normal(1, B, S, N, N))
    mask = (_normal(2, B, S, N) > 0).astype(np.float32)
    expected = np.zeros((B, S, N, N))
    for b, s, i, j in np.ndindex(B, S, N, N):
        expected[b, s, i, j] = acted[b, s, i, j] if mask[b, s, i] else base[b, 0, i, j]
    np.testing.assert_allclose(
        graph.intervened_edges(base, acted, jnp.asarray(mask)), expected, atol=1e-6
    )
    # The equation holds for masks between 0 and 1 too, as gradients of the mask need.
    soft = _sigmoid(_normal(3, B, S, N))
    mixed = (1 - soft)[..., None] * base + soft[..., None] * acted
    np.testing.assert_allclose(graph.intervened_edges(base, acted, soft), mixed, atol=1e-6)


def _messages(s_target, s_source, s_extra, s_head):
    """Arguments of message_passing; each s_ is the size of that argument's axes b and s."""
    rng = np.random.default_rng(4)
    weight = _sigmoid(_normal(5, B, S, N, N))
    connected = (rng.uniform(size=(B, S, N, N)) < 0.4).astype(np.float32)
    connected = np.maximum(connected, np.eye(N, dtype=np.float32))
    return (
        _normal(0, *s_target, G, N, H),
        _normal(1, *s_source, G, N, H),
        _normal(2, *s_extra, G, 2, H),
        _normal(3, *s_head, G, H),
        _normal(6, *s_head, G, H),
        weight * connected,
        connected,
    )


def _loops(target, source, extra, readout, edge, weight, connected):
    """GATv2 node by node, over the parents alone."""
    received = np.zeros((B, S, G, N, H))
    for b, s, g, i in np.ndindex(B, S, G, N):
        parents = [
            (source[b, s, g, j], weight[b, s, i, j]) for j in range(N) if connected[b, s, i, j]
        ]
        parents += [(extra[0, s, g, x], 1.0) for x in range(2)]
        scores = np.array(
            [
                readout[0, 0, g] @ _leaky(target[b, s, g, i] + sent + w * edge[0, 0, g])
                for sent, w in parents
            ]
        )
        votes = np.exp(scores - scores.max())
        received[b, s, g, i] = np.average([sent for sent, _ in parents], axis=0, weights=votes)
    return received


def test_message_passing_by_loops():
    arguments = _messages((B, S), (B, S), (1, S), (1, 1))
    found = jax.jit(graph.message_passing)(*arguments)
    np.testing.assert_allclose(found, _loops(*arguments), rtol=1e-4, atol=1e-5)


def _literal_messages(target, source, extra, readout, edge, weight, connected):
    """GATv2 on a graph that has the extra parents as nodes; gates multiply votes."""
    lead = (B, S, G)
    target = jnp.broadcast_to(target, (*lead, N, H))
    source = jnp.broadcast_to(source, (*lead, N, H))
    extra = jnp.broadcast_to(extra, (*lead, 2, H))
    senders = jnp.concatenate([source, extra], axis=-2)
    ones = jnp.ones((B, S, N, 2))
    weight, connected = (jnp.concatenate([x, ones], -1)[:, :, None] for x in (weight, connected))
    z = target[..., :, None, :] + senders[..., None, :, :]
    z = z + weight[..., None] * edge[..., None, None, :]
    scores = jnp.sum(readout[..., None, None, :] * jax.nn.leaky_relu(z, 0.2), axis=-1)
    votes = connected * jnp.exp(scores)
    return (votes / votes.sum(-1, keepdims=True)) @ senders


@pytest.mark.parametrize(
    "sizes",
    [
        ((B, 1), (B, 1), (1, S), (1, 1)),
        ((B, S), (B, S), (B, S), (B, S)),
        ((B, S), (B, 1), (B, S), (1, S)),
    ],
    ids=["first layer", "nothing shared", "mixed"],
)
def test_message_passing_gradients(sizes):
    arguments = [jnp.asarray(x) for x in _messages(*sizes)]
    weight = _normal(9, B, S, G, N, H)

    @jax.jit
    def both(*arguments):
        def of(f):
            return jax.value_and_grad(lambda *xs: jnp.sum(weight * f(*xs)), tuple(range(7)))(
                *arguments
            )

        return of(_literal_messages), of(graph.message_passing)

    (expected, expected_slopes), (found, slopes) = both(*arguments)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    names = ("target", "source", "extra", "readout", "edge", "weight", "connected")
    for name, e, f in zip(names, expected_slopes, slopes, strict=True):
        assert np.abs(e).max() > 1e-3
        np.testing.assert_allclose(f, e, rtol=1e-3, atol=1e-4, err_msg=f"gradient of {name}")


def test_messages_run_into_i_from_j():
    # The only other parent of node 0 is node 1; nothing else may reach it.
    target, sent, extra, readout, edge, *_ = (
        jnp.asarray(x) for x in _messages((B, 1), (B, 1), (1, S), (1, 1))
    )
    connected = jnp.broadcast_to(jnp.eye(N).at[0, 1].set(1.0), (B, S, N, N))

    @jax.jit
    @jax.grad
    def slopes(source):
        received = graph.message_passing(target, source, extra, readout, edge, connected, connected)
        return received[:, :, :, 0].sum()

    reaches = jnp.abs(slopes(sent)).sum((0, 1, 2, 4)) > 0
    np.testing.assert_array_equal(reaches, [True, True, False, False])


def test_high_scores_of_other_nodes_leave_the_votes_of_parents():
    # Scores are hundreds apart, and the highest may belong to a node that is not a parent: the
    # attention of the parents must not underflow.
    arguments = list(_messages((B, S), (B, S), (1, S), (1, 1)))
    arguments[3] = 100 * arguments[3]
    expected = _loops(*(x.astype(np.float64) for x in arguments))

    @jax.jit
    def both(*arguments):
        received, pull = jax.vjp(graph.message_passing, *arguments)
        return received, pull(received)

    found, slopes = both(*arguments)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert all(np.isfinite(slope).all() for slope in slopes)
