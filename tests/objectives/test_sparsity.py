"""The group lasso against a loop, and its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from cdis.objectives.sparsity import group_lasso


def test_group_lasso():
    kernel = np.random.default_rng(3).normal(size=(3, 3, 5)).astype(np.float32)
    adjacency = np.tril(np.ones((3, 3)), -1)
    expected = sum(
        np.sqrt((kernel[i, j] ** 2).sum()) for i, j in np.ndindex(3, 3) if adjacency[i, j]
    )
    graph = jnp.asarray(adjacency)
    found = group_lasso(jnp.asarray(kernel), graph)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    check_grads(lambda k: group_lasso(k, graph), (kernel,), order=1, modes=["rev"])
    at_zero = jax.grad(group_lasso)(jnp.zeros((3, 3, 5)), graph)
    np.testing.assert_array_equal(at_zero, 0)
