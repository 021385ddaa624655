"""Reconstruction losses against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdis.objectives import reconstruction

SHAPE = (2, 3, 2, 1)


@pytest.fixture(scope="module")
def target():
    return np.random.default_rng(0).uniform(-1, 1, SHAPE).astype(np.float32)


@pytest.fixture(scope="module")
def output():
    return 3 * np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)


def test_squared_error(output, target):
    expected = sum((o - t) ** 2 for o, t in zip(output.ravel(), target.ravel(), strict=True)) / 12
    np.testing.assert_allclose(reconstruction.squared_error(output, target), expected, rtol=1e-5)


def test_cross_entropy(output, target):
    expected = 0.0
    for logit, value in zip(output.ravel(), target.ravel(), strict=True):
        p, grey = 1 / (1 + np.exp(-logit)), (value + 1) / 2
        expected -= grey * np.log(p) + (1 - grey) * np.log(1 - p)
    found = reconstruction.cross_entropy(output, target)
    np.testing.assert_allclose(found, expected / 12, rtol=1e-5)


def test_cross_entropy_is_minimal_at_the_image(target):
    logits = jnp.log1p(target) - jnp.log1p(-target)
    slope = jax.grad(reconstruction.cross_entropy)(logits, target)
    np.testing.assert_allclose(slope, 0, atol=1e-5)


def test_cross_entropy_is_finite_for_any_logit():
    images = jnp.array([-1.0, 1.0]).reshape(2, 1, 1, 1)
    sure = jnp.array([-1e4, 1e4]).reshape(2, 1, 1, 1)
    np.testing.assert_allclose(reconstruction.cross_entropy(sure, images), 0)
    np.testing.assert_allclose(reconstruction.cross_entropy(-sure, images), 1e4)
