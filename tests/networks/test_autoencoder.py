"""Encoders and decoders of patches: shapes, what they see, and that a conditioner fits its op."""

import jax
import jax.numpy as jnp
import numpy as np

from cdis.networks.autoencoder import PatchDecoder, PatchEncoder
from cdis.networks.conditioner import Conditioner
from cdis.ops import flow


def test_patch_networks():
    images = np.random.default_rng(0).normal(size=(2, 16, 24, 3)).astype(np.float32)
    encoder = PatchEncoder(patch=4, width=4, hidden=6, latent=5)
    variables = encoder.init(jax.random.key(0), images)
    latent = encoder.apply(variables, images)
    assert latent.shape == (2, 5)  # type: ignore[union-attr]
    # Every pixel has a say in the latents.
    slope = jax.grad(lambda x: jnp.sum(encoder.apply(variables, x) ** 2))(images)  # type: ignore[operator]
    assert (np.abs(slope).max(axis=(0, 3)) > 0).mean() > 0.9
    told = encoder.init(jax.random.key(0), images, jnp.ones((2, 3)))
    one, other = (encoder.apply(told, images, side) for side in (jnp.zeros((2, 3)), jnp.eye(2, 3)))
    assert np.abs(np.asarray(one) - np.asarray(other)).min(1).max() > 0

    decoder = PatchDecoder(patch=4, width=4, hidden=6, image_shape=(16, 24, 3))
    variables = decoder.init(jax.random.key(1), latent)
    assert decoder.apply(variables, latent).shape == images.shape  # type: ignore[union-attr]


def test_a_conditioner_starts_a_flow_that_is_alive():
    d, graph = 3, jnp.asarray(flow.order_only(3))
    z = np.random.default_rng(1).normal(size=(64, d)).astype(np.float32)
    for transform in (flow.AFFINE, flow.SPLINE):
        module = Conditioner(d, 16, transform.num_parameters)
        mechanisms = module.apply(module.init(jax.random.key(0)))
        assert isinstance(mechanisms, flow.Mechanisms)
        strength = flow.edge_strength(mechanisms, graph, z, transform=transform)
        assert (np.asarray(strength)[np.asarray(graph) == 1] > 0.05).all()
        assert (np.asarray(strength)[np.asarray(graph) == 0] == 0).all()
