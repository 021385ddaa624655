"""The compact autoencoder: what it draws, and that a fresh one tells images apart."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cdis.networks.autoencoder import CompactDecoder, CompactEncoder, spread

B, H, W, C, RANK = 2, 4, 6, 3, 5


def test_images_are_sums_of_separable_terms():
    decoder = CompactDecoder((7,), RANK, (H, W, C))
    z = jax.random.normal(jax.random.key(0), (B, 3))
    params: Any = decoder.init(jax.random.key(1), z)["params"]

    def dense(number, x):
        layer = params[f"Dense_{number}"]
        return x @ layer["kernel"] + layer["bias"]

    hidden = jax.nn.relu(dense(0, z))
    rows, columns, colours = (
        np.asarray(dense(1 + i, hidden)).reshape(B, size, RANK) for i, size in enumerate((H, W, C))
    )
    expected = np.full((B, H, W, C), float(params["bias"]))
    for b, y, x, c, r in np.ndindex(B, H, W, C, RANK):
        expected[b, y, x, c] += rows[b, y, r] * columns[b, x, r] * colours[b, c, r] / RANK**0.5
    found = np.asarray(decoder.apply({"params": params}, z))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_fresh_encoder_is_spread_over_its_range():
    encoder = CompactEncoder(width=4, hidden=16, latent=6)
    images = jax.random.uniform(jax.random.key(0), (32, 16, 16, 1), minval=-1.0)
    params: Any = encoder.init(jax.random.key(1), images)["params"]
    latent = jnp.asarray(encoder.apply({"params": params}, images))
    after = jnp.asarray(encoder.apply({"params": spread(params, latent)}, images))
    inner = 2 * np.arctanh(np.asarray(after) / 2)
    np.testing.assert_allclose(inner.mean(0), 0, atol=1e-2)
    np.testing.assert_allclose(inner.std(0), 1, rtol=1e-2)
    assert (np.abs(after) < 2).all()
