"""Gaussians against NumPy and against integrals on a grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdis.ops import gaussian


def _density(x, mean, std):
    return np.exp(-((x - mean) ** 2) / (2 * std**2)) / (std * np.sqrt(2 * np.pi))


def test_log_prob():
    x = np.linspace(-3, 3, 7)
    np.testing.assert_allclose(
        gaussian.log_prob(jnp.asarray(x), 0.5, 0.3), np.log(_density(x, 0.5, 0.3)), rtol=1e-5
    )
    np.testing.assert_allclose(
        gaussian.log_prob(jnp.asarray(x)), np.log(_density(x, 0, 1)), rtol=1e-5
    )


@pytest.mark.parametrize("prior", [(0.0, 1.0), (0.4, 2.0)])
def test_kl_is_the_integral(prior):
    mean, std = np.array([0.0, 1.0, -0.7]), np.array([1.0, 0.3, 2.5])
    x = np.linspace(-30, 30, 200_001)[:, None]
    q, p = _density(x, mean, std), _density(x, *prior)
    inside = q > 1e-300
    integrand = np.where(inside, q * (np.log(np.maximum(q, 1e-300)) - np.log(p + 1e-300)), 0.0)
    expected = integrand.sum(0) * (x[1, 0] - x[0, 0])
    found = gaussian.kl(jnp.asarray(mean), jnp.asarray(std), *prior)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_from_output():
    output = np.array([[0.5, -2.0, 1.0, -90.0]], np.float32)
    mean, std = gaussian.from_output(jnp.asarray(output), floor=0.03)
    np.testing.assert_array_equal(mean, [[0.5, -2.0]])
    np.testing.assert_allclose(std, [[0.03 + np.log(2), 0.03]], rtol=1e-6)


def test_samples_have_their_moments_and_their_gradient():
    mean, std = jnp.full(40_000, 0.7), jnp.full(40_000, 0.2)
    key = jax.random.key(0)
    samples = gaussian.reparameterise(key, mean, std)
    np.testing.assert_allclose([samples.mean(), samples.std()], [0.7, 0.2], atol=5e-3)
    to_mean, to_std = jax.grad(
        lambda m, s: gaussian.reparameterise(key, m, s).sum(), argnums=(0, 1)
    )(mean, std)
    np.testing.assert_array_equal(to_mean, 1)
    np.testing.assert_allclose(to_std, (samples - mean) / std, rtol=1e-3, atol=1e-5)
