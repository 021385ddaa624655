"""The total correlation against its estimator written out, and against a known one."""

import jax
import jax.numpy as jnp
import numpy as np

from cdis.objectives.beta_vae import total_correlation


def literal(z, mean, std, num_images):
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
            lambda z, mean, std: total_correlation(z, mean, std, num_images=50),
            lambda z, mean, std: literal(z, mean, std, 50),
        )
    )
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)


def test_total_correlation_of_latents_that_are_known():
    # All images in the batch: q(z) is their mixture. Two dimensions that say the same, and two
    # that are independent, of which the total correlation is 0.
    n = 2000
    rng = np.random.default_rng(1)
    a, b, noise = rng.normal(size=(3, n)).astype(np.float32)
    std = np.full((n, 2), 0.1, np.float32)
    for other, expected in ((b, 0.0), (0.8 * a + 0.6 * b, -0.5 * np.log(1 - 0.8**2))):
        mean = np.stack([a, other], 1)
        z = mean + std * np.stack([noise, np.roll(noise, 1)], 1)
        # The batch is the whole data set, so that the mixture is its mean: log b alone goes off.
        found = total_correlation(*map(jnp.asarray, (z, mean, std)), num_images=1)
        np.testing.assert_allclose(found.mean(), expected, atol=0.12)
