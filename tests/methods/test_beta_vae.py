"""beta-VAE: its loss against a literal twin, its use of labels, and what it refuses."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cdis import data
from cdis.config import load_config
from cdis.data.info import Info
from cdis.errors import UserError
from cdis.methods import beta_vae
from cdis.methods.base import Context
from cdis.networks.autoencoder import FactorDecoder, PatchEncoder
from cdis.training.state import State, split
from cdis.training.update import make_update
from tests.helpers import quick_jit

NAME = "baselines/beta_vae_pendulum_cpu"
TINY = {
    "model.autoencoder.patch": 2,
    "model.autoencoder.width": 4,
    "model.autoencoder.hidden": 12,
    "model.autoencoder.rank": 2,
}
LATENTS, B = 4, 4
INFO = Info(
    name="squares",
    factor_names=("x", "y", "shade"),
    factor_sizes=(0, 0, 0),
    circular=(False, False, False),
    image_shape=(16, 16, 1),
    licence="none",
    citation="none",
    description="A square of some shade.",
    count=32,
    value_mean=(5.0, 5.0, 150.0),
    value_std=(3.0, 3.0, 60.0),
)


def _squares() -> tuple[np.ndarray, np.ndarray]:
    values = np.random.default_rng(0).uniform((0, 0, 50), (11, 11, 250), (32, 3)).round()
    images = np.zeros((32, 16, 16, 1), np.uint8)
    for image, (x, y, shade) in zip(images, values.astype(int), strict=True):
        image[y : y + 5, x : x + 5] = shade
    return images, values.astype(np.float32)


IMAGES, VALUES = _squares()


def _make(overrides: dict[str, Any] | None = None, info=INFO):
    config = load_config(NAME, TINY | (overrides or {}))
    return config, beta_vae.make(config, info)


BATCH = {"x": {"image": jnp.asarray(IMAGES[:B]), "values": jnp.asarray(VALUES[:B])}}


@functools.cache
def _variables():
    return quick_jit(_make()[1].init)(jax.random.key(0), BATCH)


def literal_loss(params, images, values, key, *, beta, penalty, weight):
    """Image by image, latent by latent, pixel by pixel in [0, 1]."""
    encoder: Any = PatchEncoder(2, 4, 12, 2 * LATENTS)
    decoder: Any = FactorDecoder((12, 12, 12), 1, 2, INFO.image_shape)
    target = images.astype(jnp.float32) / 255
    output = encoder.apply({"params": params["encoder"]}, 2 * target - 1)
    mean, std = output[:, :LATENTS], jnp.log(1 + jnp.exp(output[:, LATENTS:] - 1))
    noise = jax.random.normal(jax.random.split(key)[0], mean.shape)
    z = mean + std * noise
    decoded = (decoder.apply({"params": params["decoder"]}, z) + 1) / 2
    total = 0.0
    for i in range(B):
        gap = (decoded[i] - target[i]) / 0.1
        total += jnp.sum(gap**2 / 2 + np.log(0.1 * np.sqrt(2 * np.pi)))
        kl = 0.0
        for k in range(LATENTS):
            kl += 0.5 * (std[i, k] ** 2 + mean[i, k] ** 2 - 1) - jnp.log(std[i, k])
        total += kl
        if penalty == "kl":
            total += (beta - 1) * kl
        else:
            density = jnp.exp(-0.5 * ((z[i] - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))
            joint = density.prod(1).sum() / (INFO.num_images * B)
            single = density.sum(0) / (INFO.num_images * B)
            total += (beta - 1) * (jnp.log(joint) - jnp.log(single).sum())
        for k in range(INFO.num_factors):
            assert INFO.value_mean and INFO.value_std
            u = (values[i, k] - INFO.value_mean[k]) / INFO.value_std[k]
            total += weight * (mean[i, k] - u) ** 2
    return total / B


@pytest.mark.parametrize(
    ("beta", "penalty", "weight"), [(4.0, "kl", 0.0), (3.0, "total_correlation", 50.0)]
)
def test_the_loss_equals_its_literal_twin(beta, penalty, weight):
    _, method = _make(
        {"model.beta": beta, "model.penalty": penalty, "model.weights.alignment": weight}
    )
    stage, key, params = method.stages[0], jax.random.key(3), _variables()["params"]
    assert stage.columns == (("image", "values") if weight else ("image",))
    assert method.factors.num_labelled == (INFO.num_factors if weight else 0)
    batch = {"x": {column: BATCH["x"][column] for column in stage.columns}}

    def loss(params):
        return stage.objectives[0].loss({"params": params}, batch, Context(key, jnp.int32(0), None))

    def literal(params):
        x = BATCH["x"]
        options = {"beta": beta, "penalty": penalty, "weight": weight}
        return literal_loss(params, x["image"], x["values"], key, **options)

    (value, aux), slopes = quick_jit(jax.value_and_grad(loss, has_aux=True))(params)
    expected, expected_slopes = quick_jit(jax.value_and_grad(literal))(params)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for one, other in zip(*map(jax.tree.leaves, (slopes, expected_slopes)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * np.abs(other).max())
    # Every term is in the log, and what the latents have learnt.
    assert set(aux.metrics) == {"reconstruction", "kl", "spread"} | (
        {"total_correlation", "alignment", "labelled"}
        | {f"explained_{name}" for name in INFO.factor_names}
        if weight
        else set()
    )


def test_what_a_trained_method_can_do():
    _, method = _make()
    images, values = BATCH["x"]["image"], BATCH["x"]["values"]
    assert method.encode and method.decode and method.elbo and method.check is None
    assert method.factors.do is None and method.factors.structure is None
    variables = _variables()
    represented = quick_jit(method.encode)(variables, images)
    assert represented["vectors"].shape == (B, LATENTS)
    decoded = quick_jit(method.decode)(variables, represented)
    assert decoded.shape == (B, *INFO.image_shape) and np.abs(decoded).max() <= 1
    # The bound is that of beta = 1, whatever beta trained with; its mean is the loss without it.
    _, plain = _make({"model.beta": 1.0})
    key = jax.random.key(5)
    loss, _ = plain.stages[0].objectives[0].loss(variables, BATCH, Context(key, jnp.int32(0), None))
    bound = quick_jit(method.elbo)(variables, images, values, jax.random.split(key)[0])
    np.testing.assert_allclose(-bound.mean(), loss, rtol=1e-5)


@pytest.mark.parametrize(
    ("overrides", "facts", "message"),
    [
        ({"model.penalty": "mi"}, {}, "penalty is 'mi', but must be one of kl, total_corr"),
        ({"model.latents": 0}, {}, "latents is 0"),
        ({"model.latents": 2, "model.weights.alignment": 1.0}, {}, "has 3 labelled factors"),
        ({"model.weights.alignment": 1.0}, {"value_mean": None}, "squares has no labels"),
        ({"model.autoencoder.patch": -1}, {}, "patch is -1, but must be positive"),
    ],
)
def test_what_makes_no_sense_is_refused(overrides, facts, message):
    with pytest.raises(UserError, match=message):
        _make(overrides, dataclasses.replace(INFO, **facts))


def test_networks_can_be_replaced():
    def networks(config, info):
        return beta_vae.networks(config, info)._replace(encoder=PatchEncoder(4, 2, 5, 2 * LATENTS))

    config, _ = _make()
    method = beta_vae.make(config, INFO, networks=networks)
    params = quick_jit(method.init)(jax.random.key(0), BATCH)["params"]
    assert params["encoder"]["Dense_0"]["kernel"].shape[1] == 5
    assert jax.tree.structure(params["decoder"]) == jax.tree.structure(
        _variables()["params"]["decoder"]
    )


def test_experiments_are_whole_and_as_large_as_cauf_vae():
    info = data.info("pendulum/clean")
    for variant in ("", "tinted", "supervised", "tinted_supervised"):
        config = load_config(f"{NAME}:{variant}" if variant else NAME)
        method = beta_vae.make(config, info)
        assert (method.factors.num_labelled == 0) == ("supervised" not in variant)
        assert (method.check is None) == (method.factors.num_labelled == 0)
        twin = "tinted" if "tinted" in variant else ""
        other = load_config(f"cauf_vae/pendulum_cpu:{twin}".rstrip(":"))
        for name in ("steps", "batch_size", "schedule", "clip_norm"):
            assert config.stages.images[name] == other.stages.images[name]
        for name in ("tinted", "pixel_std", "autoencoder"):
            assert config.model[name] == other.model[name]
        assert config.model.latents == info.num_factors + other.model.extra
        if "supervised" in variant:
            assert config.model.weights.alignment == other.model.weights.alignment
    smoke = beta_vae.make(load_config(f"{NAME}:tinted+smoke"), info)
    assert [stage.name for stage in smoke.stages] == ["images"]
    with pytest.raises(UserError, match="smoke"):
        load_config(f"{NAME}:tiny")


def test_the_loss_falls():
    config, method = _make({"model.tinted": True, "model.pixel_std": 0.3})
    assert config.model.beta == 4
    stage, optimizer = method.stages[0], optax.adam(1e-2)
    update = make_update(stage, (optimizer,), seed=0, start=0, axis_name=None)
    variables = _variables()
    state = State(
        variables,
        (optimizer.init(split(variables["params"], stage.objectives[0])[0]),),
        jnp.int32(0),
    )
    batch = {"x": {"image": jnp.asarray(IMAGES)}}
    _, metrics = jax.jit(
        lambda state: jax.lax.scan(lambda s, _: update(s, batch), state, length=200)
    )(state)
    terms = np.asarray(metrics["loss"])
    assert terms[-20:].mean() < terms[:20].mean() - 10
