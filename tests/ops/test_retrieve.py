"""Action retrieval against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cdis.ops import retrieve

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
