"""The weighted sum of a loss's terms."""

import jax.numpy as jnp
import numpy as np

from cdis.objectives.weighting import weighted_sum


def test_weighted_sum():
    terms = {"reconstruction": jnp.array([1.0, 3.0]), "kl": jnp.array([2.0, 8.0])}
    total, means = weighted_sum(terms, {"kl": 0.5, "reconstruction": 2.0, "unused": 9.0})
    assert list(means) == ["reconstruction", "kl"]
    np.testing.assert_allclose(list(means.values()), [2.0, 5.0])
    np.testing.assert_allclose(total, 2 * 2.0 + 0.5 * 5.0)
