"""Losses on soft assignments to codes against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdis.objectives import codes

B, C, M, K = 4, 2, 3, 5


@pytest.fixture(scope="module")
def assignment():
    logits = np.random.default_rng(0).normal(size=(B, C, M, K)).astype(np.float32)
    return jax.nn.softmax(jnp.asarray(logits), axis=-1)


def test_unused_codes(assignment):
    gaps = []
    for c in range(C):
        usage = np.mean([assignment[b, c, m] for b, m in np.ndindex(B, M)], axis=0)
        gaps.append(np.log(K) + sum(p * np.log(p) for p in usage))
    np.testing.assert_allclose(codes.unused_codes(assignment), np.mean(gaps), rtol=1e-4)
    even = jnp.eye(K)[:, None, None]  # each image certain of a code of its own
    np.testing.assert_allclose(codes.unused_codes(even), 0, atol=1e-6)
    collapsed = jnp.zeros((B, C, M, K)).at[..., 0].set(1.0)
    np.testing.assert_allclose(codes.unused_codes(collapsed), np.log(K), rtol=1e-5)


def test_unused_codes_of_all_devices(assignment):
    halves = assignment.reshape(2, B // 2, C, M, K)
    shared = jax.vmap(lambda a: codes.unused_codes(a, axis_name="data"), axis_name="data")(halves)
    np.testing.assert_allclose(shared, [codes.unused_codes(assignment)] * 2, rtol=1e-4)


def test_uncertain_codes(assignment):
    entropies = [
        -sum(p * np.log(p) for p in np.asarray(assignment[index])) for index in np.ndindex(B, C, M)
    ]
    found = codes.uncertain_codes(assignment, jnp.log(assignment))
    np.testing.assert_allclose(found, np.mean(entropies), rtol=1e-5)
