"""Autoencoders: what they render and see, that a fresh one separates images; conditioners."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdis.networks.autoencoder import (
    CompactDecoder,
    CompactEncoder,
    FactorDecoder,
    GridDecoder,
    GridEncoder,
    PatchDecoder,
    PatchEncoder,
    patch_networks,
    standardise_latents,
)
from cdis.networks.conditioner import Conditioner
from cdis.ops import causal_flow
from cdis.ops.adjacency import order_only

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


def test_latents_of_a_fresh_encoder_are_standardised():
    encoder = CompactEncoder(patch=2, width=4, hidden=16, latent=6)
    images = jax.random.uniform(jax.random.key(0), (32, 16, 16, 1), minval=-1.0)
    params: Any = encoder.init(jax.random.key(1), images)["params"]
    latent = jnp.asarray(encoder.apply({"params": params}, images))
    after = jnp.asarray(encoder.apply({"params": standardise_latents(params, latent)}, images))
    inner = 2 * np.arctanh(np.asarray(after) / 2)
    np.testing.assert_allclose(inner.mean(0), 0, atol=1e-2)
    np.testing.assert_allclose(inner.std(0), 1, rtol=1e-2)
    assert (np.abs(after) < 2).all()


@pytest.mark.parametrize(("patch", "shape"), [(2, (28, 28, 1)), (4, (10, 33, 3)), (1, (4, 4, 1))])
def test_a_compact_encoder_takes_images_of_any_size(patch, shape):
    encoder = CompactEncoder(patch=patch, width=4, hidden=8, latent=6)
    image = jax.random.uniform(jax.random.key(0), (2, *shape), minval=-1.0)
    variables = encoder.init(jax.random.key(1), image)
    latent = jnp.asarray(encoder.apply(variables, image))
    assert latent.shape == (2, 6)
    # The encoder sees the far corner.
    changed = jnp.asarray(encoder.apply(variables, image.at[:, -1, -1].set(2.0)))
    assert (changed != latent).any()


@pytest.mark.parametrize("rank", [0, 2])
def test_images_of_any_size_are_padded_by_their_edges_and_decoded_at_their_size(rank):
    shape = (9, 14, 1)
    encoder, decoder = patch_networks(shape, patch=4, width=4, hidden=6, latent=5, rank=rank)
    image = jax.random.uniform(jax.random.key(0), (2, *shape), minval=-1.0)
    variables = encoder.init(jax.random.key(1), image)
    latent = jnp.asarray(encoder.apply(variables, image))
    padded = np.pad(image, ((0, 0), (0, 3), (0, 2), (0, 0)), mode="edge")
    np.testing.assert_array_equal(latent, encoder.apply(variables, padded))
    variables = decoder.init(jax.random.key(2), latent)
    assert jnp.asarray(decoder.apply(variables, latent)).shape == image.shape


def test_the_grid_covers_images_of_any_size():
    shape = (9, 14, 3)
    encoder, decoder = GridEncoder((4, 4), 1, 6), GridDecoder((4, 4), 1, shape)
    image = jax.random.uniform(jax.random.key(0), (2, *shape), minval=-1.0)
    latent, variables = encoder.init_with_output(jax.random.key(1), image)
    assert jnp.asarray(latent).shape == (2, 3, 4, 6)
    padded = np.pad(image, ((0, 0), (0, 3), (0, 2), (0, 0)), mode="edge")
    np.testing.assert_array_equal(latent, encoder.apply(variables, padded))
    decoded, _ = decoder.init_with_output(jax.random.key(2), latent)
    assert jnp.asarray(decoded).shape == image.shape


def test_patch_networks():
    images = np.random.default_rng(0).normal(size=(2, 16, 24, 3)).astype(np.float32)
    encoder = PatchEncoder(patch=4, width=4, hidden=6, latent=5)
    variables = encoder.init(jax.random.key(0), images)
    latent = jnp.asarray(encoder.apply(variables, images))
    assert latent.shape == (2, 5)
    # Every pixel influences the latents.
    slope = jax.grad(lambda x: jnp.sum(jnp.asarray(encoder.apply(variables, x)) ** 2))(images)
    assert (np.abs(slope).max(axis=(0, 3)) > 0).mean() > 0.9
    with_side = encoder.init(jax.random.key(0), images, jnp.ones((2, 3)))
    one, other = (
        encoder.apply(with_side, images, side) for side in (jnp.zeros((2, 3)), jnp.eye(2, 3))
    )
    assert np.abs(np.asarray(one) - np.asarray(other)).min(1).max() > 0

    for rank, kind in ((0, PatchDecoder), (2, FactorDecoder)):
        sizes = dict(patch=4, width=4, hidden=6, latent=5)
        again, decoder = patch_networks((16, 24, 3), rank=rank, **sizes)
        assert again == encoder and isinstance(decoder, kind)
        variables = decoder.init(jax.random.key(1), latent)
        assert jnp.asarray(decoder.apply(variables, latent)).shape == images.shape


def test_a_conditioner_starts_a_flow_that_is_alive():
    d, graph = 3, jnp.asarray(order_only(3))
    z = jnp.asarray(np.random.default_rng(1).normal(size=(64, d)), jnp.float32)
    for transform in (causal_flow.AFFINE, causal_flow.SPLINE):
        module = Conditioner(d, 16, transform.num_parameters)
        mechanisms = module.apply(module.init(jax.random.key(0)))
        assert isinstance(mechanisms, causal_flow.Mechanisms)
        strength = causal_flow.edge_strength(mechanisms, graph, z, transform=transform)
        assert (np.asarray(strength)[np.asarray(graph) == 1] > 0.05).all()
        assert (np.asarray(strength)[np.asarray(graph) == 0] == 0).all()


def test_a_factor_decoder_is_the_sum_of_its_terms():
    """Written out for one row: the joint network, that of each latent, terms, saturation."""
    decoder = FactorDecoder((6, 5), 3, 2, (4, 3, 2))
    z = jnp.asarray(np.random.default_rng(0).normal(size=(7, 3)), jnp.float32)
    variables = decoder.init(jax.random.key(0), z)
    p = jax.tree.map(lambda x: np.asarray(x, float), variables["params"])

    def dense(name: str, x: np.ndarray) -> np.ndarray:
        return x @ p[name]["kernel"] + p[name]["bias"]

    row = np.asarray(z[4], float)
    joint = np.maximum(dense("Dense_1", np.maximum(dense("Dense_0", row), 0)), 0)
    own = []
    for d in range(3):
        unit = np.maximum(row[d] * p["own_kernel_0"][d, 0] + p["own_bias_0"][d], 0)
        own.append(np.maximum(unit @ p["own_kernel_1"][d] + p["own_bias_1"][d], 0))
    x = np.concatenate([joint, *own])
    rows, columns, colours = (dense(f"Dense_{2 + i}", x).reshape(-1, 2) for i in range(3))
    expected = np.zeros((4, 3, 2))
    for y, x_, c in np.ndindex(4, 3, 2):
        terms = [rows[y, r] * columns[x_, r] * colours[c, r] for r in range(2)]
        pixel = sum(terms) / np.sqrt(2) + p["bias"]
        expected[y, x_, c] = np.tanh(pixel) + 0.01 * pixel
    found: Any = decoder.apply(variables, z)
    np.testing.assert_allclose(found[4], expected, atol=1e-5)


def test_a_saturated_pixel_still_has_a_slope():
    decoder = FactorDecoder((6,), 3, 2, (4, 4, 3))
    z = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)
    variables = decoder.init(jax.random.key(0), z)
    assert np.abs(np.asarray(decoder.apply(variables, 1e3 * z))).min() > 0.99

    def total(variables: Any) -> Any:
        pixels: Any = decoder.apply(variables, 1e3 * z)
        return pixels.sum()

    slope = jax.grad(total)(variables)
    assert any(np.any(np.asarray(x)) for x in jax.tree.leaves(slope))
