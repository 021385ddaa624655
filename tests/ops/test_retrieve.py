"""Action retrieval against loops."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cdis.ops import retrieve
from cdis.ops.actions import direction_of, factor_of, opposite, shortest_way

B, A, N, K = 2, 3, 4, 5


@pytest.fixture(scope="module")
def logits():
    return np.random.default_rng(0).normal(size=(B, A, N, K)).astype(np.float32)


@pytest.fixture(scope="module")
def codes():
    return np.random.default_rng(1).integers(0, K, (B, N))


@pytest.mark.parametrize("over_nodes", ["mean", "sum"])
def test_code_distances(logits, codes, over_nodes):
    expected = np.zeros((B, A))
    for b, a, n in np.ndindex(B, A, N):
        p = np.exp(logits[b, a, n]) / np.exp(logits[b, a, n]).sum()
        expected[b, a] -= np.log(p[codes[b, n]]) / (N if over_nodes == "mean" else 1)
    target = jax.nn.one_hot(jnp.asarray(codes), K)
    found = retrieve.code_distances(logits, target, over_nodes=over_nodes)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    check_grads(
        lambda *xs: retrieve.code_distances(*xs, over_nodes=over_nodes),
        (logits, target),
        order=1,
        modes=["rev"],
        rtol=1e-2,
    )


@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_action_log_probabilities(temperature):
    distances = np.random.default_rng(2).uniform(0, 5, (B, A)).astype(np.float32)
    weights = np.exp(-distances / temperature)
    expected = np.log(weights / weights.sum(-1, keepdims=True))
    found = retrieve.action_log_probabilities(jnp.asarray(distances), temperature=temperature)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.argmax(-1), distances.argmin(-1))


def test_sum_over_nodes_is_bayes_rule(logits, codes):
    # p(action | codes of y) with equal priors, by multiplying the nodes' probabilities.
    joint = np.ones((B, A))
    for b, a, n in np.ndindex(B, A, N):
        joint[b, a] *= np.exp(logits[b, a, n, codes[b, n]]) / np.exp(logits[b, a, n]).sum()
    target = jax.nn.one_hot(jnp.asarray(codes), K)
    distances = retrieve.code_distances(logits, target, over_nodes="sum")
    found = jnp.exp(retrieve.action_log_probabilities(distances))
    np.testing.assert_allclose(found, joint / joint.sum(-1, keepdims=True), rtol=1e-4)


def test_wrong_shapes_and_names_raise(logits):
    with pytest.raises(AssertionError):
        retrieve.code_distances(logits, jnp.zeros((B, N)), over_nodes="mean")
    with pytest.raises(AssertionError):
        retrieve.action_log_probabilities(jnp.zeros((A,)))
    with pytest.raises(KeyError):
        retrieve.code_distances(logits, jnp.zeros((B, N, K)), over_nodes="median")


# Several actions

SIZES, CIRCULAR, MOST, PRICE = (4, 3, 5), (False, False, True), 3, 1.5
FACTORS = len(SIZES)


def _world(seed=None):
    """Logits of codes after each action: node f holds factor f, and only its own actions hit it.

    With a seed, a hit node moves to random codes; without, by one step, as far as its range goes.
    """
    codes = max(SIZES)
    table = np.zeros((2 * FACTORS, codes, codes), np.float32)
    for action, code in np.ndindex(2 * FACTORS, codes):
        factor = factor_of(action, FACTORS)
        moved, size = code + direction_of(action, FACTORS), SIZES[factor]
        moved = moved % size if CIRCULAR[factor] else np.clip(moved, 0, size - 1)
        table[action, code, moved] = 6
    if seed is not None:
        table = np.random.default_rng(seed).normal(scale=3, size=table.shape).astype(np.float32)

    def predict_all(one_hot):
        acted = jnp.einsum("bnk,ankl->banl", one_hot, table[:, None] * np.ones((FACTORS, 1, 1)))
        hit = np.tile(np.eye(FACTORS), (2, 1))[:, :, None]
        return hit * acted + (1 - hit) * 6 * one_hot[:, None]

    return predict_all


def _anything(one_hot):
    return jnp.ones((len(one_hot), 2 * FACTORS), bool)


def _search(predict_all, x, y, width, most=MOST, possible=_anything):
    x, y = (jax.nn.one_hot(jnp.asarray(codes), max(SIZES)) for codes in (x, y))
    found = jax.jit(
        lambda x, y: retrieve.search_steps(
            predict_all, possible, x, y, sizes=SIZES, circular=CIRCULAR,
            max_steps=most, width=width, price=PRICE,
        )
    )(x, y)  # fmt: skip
    return [np.asarray(part) for part in found]


def _every_sequence(predict_all, against, x, y):
    """The steps of the best sequence for one pair and their probability, by walking all of them."""
    num_actions, eye = 2 * FACTORS, np.eye(max(SIZES))

    def predicted(codes, action):
        logits = np.asarray(predict_all(eye[codes][None])[0, action])
        return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)

    def possible(codes, action):
        return not any(against[action, n, k] for n, k in enumerate(codes))

    found = []
    for sequence in itertools.chain.from_iterable(
        itertools.product(range(num_actions), repeat=length) for length in range(MOST + 1)
    ):
        steps = np.zeros(FACTORS, int)
        for action in sequence:
            steps[factor_of(action, FACTORS)] += direction_of(action, FACTORS)
        # No step is undone, and none leaves a range or goes the longer way round a circle.
        farthest = np.where(CIRCULAR, np.array(SIZES) // 2, np.array(SIZES) - 1)
        if abs(steps).sum() < len(sequence) or (abs(steps) > farthest).any():
            continue
        codes, able = x, True
        for action in sequence[:-2]:
            able &= possible(codes, action)
            codes = predicted(codes, action).argmax(-1)
        if sequence:
            able &= possible(codes, sequence[-2:][0])
            able &= possible(y, opposite(sequence[-1], FACTORS))
        if not able:
            continue
        if len(sequence) == 0:
            if tuple(x) != tuple(y):
                continue
            met = np.ones(FACTORS)
        elif len(sequence) == 1:
            (action,) = sequence
            there = (predicted(x, action) * eye[y]).sum(-1)
            back = (predicted(y, opposite(action, FACTORS)) * eye[x]).sum(-1)
            met = np.sqrt(there * back)
        else:
            first, last = sequence[-2:]
            met = predicted(codes, first) * predicted(y, opposite(last, FACTORS))
            met = met.sum(-1)
        found.append((np.log(met).sum() - PRICE * len(sequence), tuple(steps)))
    best = max(found)[1]
    weights = np.exp([score for score, _ in found])
    return best, weights[[steps == best for _, steps in found]].sum() / weights.sum()


def test_a_wide_search_is_that_of_every_sequence():
    predict_all, rng = _world(seed=0), np.random.default_rng(1)
    x, y = rng.integers(0, SIZES, (2, 6, FACTORS))
    y[0] = x[0]
    against = rng.random((2 * FACTORS, FACTORS, max(SIZES))) < 0.1

    def possible(one_hot):
        return jnp.einsum("bnk,ank->ba", one_hot, against.astype(np.float32)) == 0

    steps, probability = _search(predict_all, x, y, 2 * FACTORS, possible=possible)
    for before, after, found, chance in zip(x, y, steps, probability, strict=True):
        best, expected = _every_sequence(jax.jit(predict_all), against, before, after)
        np.testing.assert_array_equal(found, best)
        assert chance == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("most", "width"), [(1, 1), (2, 1), (3, 6), (4, 20)])
def test_all_steps_are_found_in_an_ideal_world(most, width):
    """Up to two steps by any width, as the state before them is x."""
    every = np.stack(np.unravel_index(np.arange(60), SIZES), 1)
    x, y = every.repeat(60, 0), np.tile(every, (60, 1))
    shortest = shortest_way(y - x, SIZES, CIRCULAR)
    steps, _ = _search(_world(), x, y, width, most)
    near = abs(shortest).sum(1) <= most
    np.testing.assert_array_equal(steps[near], shortest[near])
    assert (abs(steps).sum(1) <= most).all()
