"""Chunked maps give the results of one pass."""

import jax.numpy as jnp
import numpy as np
import pytest

from cdis.ops import chunked_map

B, S, N = 5, 3, 2  # five images: the last chunk of two is not full


@pytest.mark.parametrize("large", [False, True])
def test_each_action(monkeypatch, large):
    monkeypatch.setattr(chunked_map, "_is_large", lambda work: large)
    rng = np.random.default_rng(0)
    weights, x = jnp.asarray(rng.normal(size=(1, S))), jnp.asarray(rng.normal(size=(B, S, N)))
    seen = []

    def function(weights, x, nothing):
        seen.append(weights["w"].shape[1])
        return weights["w"][..., None] * x, x.sum(-1)

    product, total = chunked_map.each_action(function, {"w": weights}, x, None, images=B, work=1)
    np.testing.assert_allclose(product, weights[..., None] * x)
    np.testing.assert_allclose(total, x.sum(-1), rtol=1e-6)
    assert set(seen) == {1 if large else S}


@pytest.mark.parametrize("large", [False, True])
def test_each_image(monkeypatch, large):
    monkeypatch.setattr(chunked_map, "_is_large", lambda work: large)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(B, N)))
    seen = []

    def function(x, y):
        seen.append(len(x))
        return {"sum": x + y["y"]}

    found = chunked_map.each_image(function, x, {"y": 2 * x}, work=1)
    np.testing.assert_allclose(found["sum"], 3 * x, rtol=1e-6)
    assert set(seen) == {1 if large else B}
