"""ELBO terms against loops, closed forms and averages over many samples."""

import jax
import jax.numpy as jnp
import numpy as np

from cdis.objectives import vae
from cdis.ops import gaussian


def _normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_image_log_likelihood_is_in_pixels_from_0_to_1():
    images, target, std = _normal(0, 2, 3, 3, 1), _normal(1, 2, 3, 3, 1), 0.3
    expected = np.zeros(2)
    for b, i, j in np.ndindex(2, 3, 3):
        gap = (images[b, i, j, 0] + 1) / 2 - (target[b, i, j, 0] + 1) / 2
        expected[b] += -(gap**2) / (2 * std**2) - np.log(std * np.sqrt(2 * np.pi))
    found = vae.image_log_likelihood(jnp.asarray(images), jnp.asarray(target), std=std)
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

    samples = vae.flow_divergence(
        jnp.full(n, jnp.log(scale).sum()), rows(std), scale * eps + shift,
        rows(prior_mean), rows(prior_std),
    )  # fmt: skip
    exact = gaussian.kl(scale * mean + shift, scale * std, prior_mean, prior_std)
    np.testing.assert_allclose(samples.mean(), exact.sum(), rtol=0.01)


def literal_total_correlation(z, mean, std, num_images):
    """One density at a time."""
    b, d = z.shape

    def density(i, j, k):
        gap = (z[i, k] - mean[j, k]) / std[j, k]
        return jnp.exp(-0.5 * gap**2) / (std[j, k] * np.sqrt(2 * np.pi))

    values = []
    for i in range(b):
        joint = sum(jnp.prod(jnp.stack([density(i, j, k) for k in range(d)])) for j in range(b))
        value = jnp.log(joint / (num_images * b))
        for k in range(d):
            value -= jnp.log(sum(density(i, j, k) for j in range(b)) / (num_images * b))
        values.append(value)
    return jnp.stack(values)


def test_total_correlation_equals_the_literal_estimator():
    rng = np.random.default_rng(0)
    z, mean = (jnp.asarray(rng.normal(size=(4, 2)), jnp.float32) for _ in range(2))
    std = jnp.asarray(rng.uniform(0.4, 1.5, (4, 2)), jnp.float32)
    found, expected = (
        jax.value_and_grad(lambda *x, f=f: (f(*x) ** 2).sum(), argnums=(0, 1, 2))(z, mean, std)
        for f in (
            lambda z, mean, std: vae.total_correlation(z, mean, std, num_images=50),
            lambda z, mean, std: literal_total_correlation(z, mean, std, 50),
        )
    )
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)


def test_total_correlation_of_known_distributions():
    # The batch is the whole data set. Two independent dimensions have total correlation 0; two
    # correlated Gaussians have -log(1 - rho^2) / 2.
    n = 2000
    rng = np.random.default_rng(1)
    a, b, noise = rng.normal(size=(3, n)).astype(np.float32)
    std = np.full((n, 2), 0.1, np.float32)
    for other, expected in ((b, 0.0), (0.8 * a + 0.6 * b, -0.5 * np.log(1 - 0.8**2))):
        mean = np.stack([a, other], 1)
        z = mean + std * np.stack([noise, np.roll(noise, 1)], 1)
        # With num_images=1 each density is the mean over the batch.
        found = vae.total_correlation(*map(jnp.asarray, (z, mean, std)), num_images=1)
        np.testing.assert_allclose(found.mean(), expected, atol=0.12)
