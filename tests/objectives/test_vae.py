"""Losses of the causal VAE against loops, closed forms and averages over many samples."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from cdis.objectives import causal_vae
from cdis.ops import gaussian


def _normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_image_log_likelihood_is_in_pixels_from_0_to_1():
    images, target, std = _normal(0, 2, 3, 3, 1), _normal(1, 2, 3, 3, 1), 0.3
    expected = np.zeros(2)
    for b, i, j in np.ndindex(2, 3, 3):
        gap = (images[b, i, j, 0] + 1) / 2 - (target[b, i, j, 0] + 1) / 2
        expected[b] += -(gap**2) / (2 * std**2) - np.log(std * np.sqrt(2 * np.pi))
    found = causal_vae.image_log_likelihood(jnp.asarray(images), jnp.asarray(target), std=std)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_flow_divergence_of_a_linear_flow_is_the_gaussian_kl_on_average():
    # z = a eps + b is Gaussian again, so that the divergence is known.
    mean, std = jnp.array([0.3, -1.0]), jnp.array([0.5, 0.2])
    scale, shift = jnp.array([2.0, 0.7]), jnp.array([-0.4, 0.1])
    prior_mean, prior_std = jnp.array([0.0, 0.5]), jnp.array([1.5, 0.4])
    n = 100_000
    eps = gaussian.reparameterise(jax.random.key(0), jnp.tile(mean, (n, 1)), jnp.tile(std, (n, 1)))

    def rows(x):
        return jnp.tile(x, (n, 1))

    samples = causal_vae.flow_divergence(
        jnp.full(n, jnp.log(scale).sum()), rows(std), scale * eps + shift,
        rows(prior_mean), rows(prior_std),
    )  # fmt: skip
    exact = gaussian.kl(scale * mean + shift, scale * std, prior_mean, prior_std)
    np.testing.assert_allclose(samples.mean(), exact.sum(), rtol=0.01)


def test_alignment():
    z, labels = _normal(2, 4, 3), np.array([[0.5, 1, -1], [0, 0, 2], [1, 1, 0], [2, 0, 1]])
    binary = np.array([False, True, False])
    expected = np.zeros(4)
    for b, i in np.ndindex(4, 3):
        p = 1 / (1 + np.exp(-z[b, i]))
        told = labels[b, i]
        cross_entropy = -told * np.log(p) - (1 - told) * np.log(1 - p)
        expected[b] += cross_entropy if binary[i] else (z[b, i] - told) ** 2
    found = causal_vae.alignment(jnp.asarray(z), jnp.asarray(labels), jnp.asarray(binary))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    certain = causal_vae.alignment(jnp.array([[90.0]]), jnp.ones((1, 1)), jnp.array([True]))
    assert np.isfinite(certain).all() and certain[0] < 1e-6


def test_group_lasso():
    kernel, adjacency = _normal(3, 3, 3, 5), np.tril(np.ones((3, 3)), -1)
    expected = sum(
        np.sqrt((kernel[i, j] ** 2).sum()) for i, j in np.ndindex(3, 3) if adjacency[i, j]
    )
    graph = jnp.asarray(adjacency)
    found = causal_vae.group_lasso(jnp.asarray(kernel), graph)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    check_grads(lambda k: causal_vae.group_lasso(k, graph), (kernel,), order=1, modes=["rev"])
    at_zero = jax.grad(causal_vae.group_lasso)(jnp.zeros((3, 3, 5)), graph)
    np.testing.assert_array_equal(at_zero, 0)
