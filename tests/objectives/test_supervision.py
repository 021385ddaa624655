"""Alignment against a loop."""

import jax.numpy as jnp
import numpy as np

from cdis.objectives import supervision


def test_alignment():
    z = np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32)
    labels = np.array([[0.5, 1, -1], [0, 0, 2], [1, 1, 0], [2, 0, 1]])
    binary = np.array([False, True, False])
    expected = np.zeros(4)
    for b, i in np.ndindex(4, 3):
        p = 1 / (1 + np.exp(-z[b, i]))
        label = labels[b, i]
        cross_entropy = -label * np.log(p) - (1 - label) * np.log(1 - p)
        expected[b] += cross_entropy if binary[i] else (z[b, i] - label) ** 2
    found = supervision.alignment(jnp.asarray(z), jnp.asarray(labels), jnp.asarray(binary))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    certain = supervision.alignment(jnp.array([[90.0]]), jnp.ones((1, 1)), jnp.array([True]))
    assert np.isfinite(certain).all() and certain[0] < 1e-6
