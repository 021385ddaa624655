"""CauF-VAE as published: its loss, its use of labels, its networks, and its weak edges."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cdis import data, methods
from cdis.config import load_config
from cdis.data import pendulum
from cdis.errors import UserError
from cdis.methods import cauf_vae, causal_latents, labels
from cdis.methods.base import Context
from cdis.methods.causal_latents import Model
from cdis.ops import causal_flow
from cdis.training.state import State, split
from cdis.training.update import make_update
from tests.helpers import quick_jit
from tests.methods import bars
from tests.methods.bars import BINARY, GRAPH, INFO, B, Case

NAME = "pendulum_literal"


@functools.cache
def _case() -> Case:
    return bars.case(NAME)


def _model(overrides: dict[str, Any] | None = None) -> Model:
    config, _ = bars.make(NAME, overrides)
    networks, graph = cauf_vae.networks(config, INFO), np.array(GRAPH, np.float32)
    return Model(config.model, INFO, networks, graph, labels.scale(INFO), causal_flow.AFFINE)


def test_one_stage_trains_everything():
    case = _case()
    (stage,) = case.method.stages
    assert stage.name == "images" and stage.columns == ("image", "values")
    assert set(case.variables) == {"params"}
    assert bars.trained_parts(case, stage) == {"encoder", "decoder", "prior", "conditioner"}


def test_the_loss_is_the_weighted_sum_of_its_terms():
    case = _case()
    value, aux = bars.check_loss(case, "images", GRAPH)
    terms = bars.terms_of(aux.metrics)
    assert set(terms) == {"reconstruction", "kl", "alignment"}
    weights = case.config.model.weights
    np.testing.assert_allclose(value, sum(weights[t] * x for t, x in terms.items()), rtol=1e-5)
    # What is explained of labels concerns the images whose labels the encoder does not see.
    assert 0 < aux.metrics["labelled"] < B


def test_what_a_trained_method_can_do():
    bars.check_abilities(_case(), extra=0)


def test_the_encoder_reads_labels_where_they_are_given():
    case = _case()
    x, method = case.batch["x"], case.method
    assert method.encode
    without = quick_jit(method.encode)(case.variables, x["image"])["vectors"]
    encode = quick_jit(method.encode)
    given = encode(case.variables, x["image"], x["values"])["vectors"]
    moved = encode(case.variables, x["image"], x["values"].at[0].add(1.0))["vectors"]
    assert np.abs(np.asarray(given) - np.asarray(without)).min(1).max() > 1e-4
    # Each image reads its own labels.
    assert np.abs(np.asarray(given) - np.asarray(moved)).max(1)[0] > 1e-4
    np.testing.assert_allclose(given[1:], moved[1:], atol=1e-6)


def test_labels_can_be_kept_out_of_the_encoder():
    case = bars.case(NAME, {"model.labels_into_encoder": False})
    x, method = case.batch["x"], case.method
    assert method.encode
    with_labels = method.encode(case.variables, x["image"], x["values"])["vectors"]
    np.testing.assert_array_equal(method.encode(case.variables, x["image"])["vectors"], with_labels)


def test_hidden_labels_do_not_reach_the_encoder():
    case, model = _case(), _model()
    seen = jnp.arange(B)[:, None] < 4
    u = jax.random.normal(jax.random.key(0), (B, 3))

    @quick_jit
    def zbar(u):
        return cauf_vae.posterior(model, case.variables, case.batch["x"]["image"], u, seen)[2]

    changed = np.abs(np.asarray(zbar(u)) - np.asarray(zbar(u + 1))).max(1)
    assert (changed[:4] > 1e-4).all() and (changed[4:] == 0).all()


@pytest.mark.parametrize("hidden", [0.0, 0.25])
def test_a_share_of_the_images_hides_its_labels_in_training(hidden):
    case, model, x = _case(), _model({"model.labels_hidden": hidden}), _case().batch["x"]
    u = (np.asarray(x["values"]) - np.array(INFO.value_mean)) / np.array(INFO.value_std)
    encode = quick_jit(functools.partial(cauf_vae.encode, model))
    zbar = encode(case.variables, x["image"], x["values"]), encode(case.variables, x["image"])
    seen, not_seen = (((np.asarray(z["vectors"]) - u) ** 2).sum(1).mean() for z in zbar)
    assert abs(seen - not_seen) > 0.02

    def alignment(key):
        context = Context(key, jnp.int32(0), None)
        return cauf_vae.images_loss(model, case.variables, case.batch, context)[1].metrics

    keys = jax.random.split(jax.random.key(0), 2000)
    found = quick_jit(jax.vmap(lambda key: alignment(key)["alignment"]))(keys)
    expected = (1 - hidden) * seen + hidden * not_seen
    np.testing.assert_allclose(found.mean(), expected, atol=0.03 * abs(seen - not_seen))
    assert (found.std() < 1e-5) == (hidden == 0)


@pytest.mark.parametrize("prior", ["labels", "standard"])
def test_the_divergence_is_that_from_the_prior(prior):
    """Without mechanisms z is eps, and the divergence is that of two Gaussians, here in NumPy."""
    model, case = _model({"model.prior": prior}), _case()
    params = case.variables["params"]
    params = params | {"conditioner": jax.tree.map(jnp.zeros_like, params["conditioner"])}
    variables, x = {"params": params}, case.batch["x"]
    given, seen = labels.read(model.scale, x["values"]), jnp.ones((B, 1), bool)
    posterior = quick_jit(functools.partial(cauf_vae.posterior, model))
    mean, std, _ = posterior(variables, x["image"], given.u, seen)
    p_mean, p_std = causal_latents.prior(model, variables, given.u)
    if prior == "standard":
        p_mean, p_std = np.zeros_like(p_mean), np.ones_like(p_std)
    mean, std, p_mean, p_std = map(np.asarray, (mean, std, p_mean, p_std))
    each = np.log(p_std / std) + (std**2 + (mean - p_mean) ** 2) / (2 * p_std**2) - 0.5

    def divergence(key):
        terms, _ = cauf_vae.elbo_terms(model, variables, x["image"], given, seen, key)
        return terms["kl"]

    found = quick_jit(jax.vmap(divergence))(jax.random.split(jax.random.key(1), 4000))
    np.testing.assert_allclose(found.mean(0), each.sum(1), atol=0.1)
    # One is exact for each image, the other is estimated from a sample.
    assert (found.std(0).max() < 1e-5) == (prior == "standard")


def test_the_standard_prior_has_nothing_to_train():
    case = bars.case(NAME, {"model.prior": "standard"})
    parts = bars.trained_parts(case, case.method.stages[0])
    assert parts == {"encoder", "decoder", "conditioner"}


def test_labels_at_evaluation():
    # With this prior the bound depends on labels through the encoder alone.
    overrides = {"model.prior": "standard", "model.labels_at_evaluation": True}
    model, case, x = _model(overrides), _case(), _case().batch["x"]
    hides = _model({"model.prior": "standard"})

    @quick_jit
    def bounds(values):
        arguments = case.variables, x["image"], values, jax.random.key(0)
        return cauf_vae.elbo(model, *arguments), cauf_vae.elbo(hides, *arguments)

    (reads, does_not), moved = bounds(x["values"]), bounds(x["values"] + 1)
    assert (np.abs(reads - moved[0]) > 1e-4).all() and (does_not == moved[1]).all()

    # To set a factor to the value that the encoder sees in image and labels changes nothing.
    @quick_jit
    def images(values):
        z = cauf_vae.encode(model, case.variables, x["image"], values)
        own = z["vectors"] * model.scale.std + model.scale.mean
        arguments = case.variables, x["image"], jnp.arange(3) == 1, own
        given, not_given = cauf_vae.do(model, *arguments, values), cauf_vae.do(model, *arguments)
        return cauf_vae.decode(model, case.variables, z), given, not_given

    decoded, given, not_given = images(x["values"])
    np.testing.assert_allclose(given, decoded, atol=1e-4)
    assert np.abs(not_given - decoded).max() > 1e-4


def test_an_encoder_that_always_had_labels_warns_of_evaluation_without():
    _, method = bars.make(NAME, {"model.labels_hidden": 0.0})
    assert "not prepared" in method.warnings[0] and not method.labels_at_evaluation
    _, method = bars.make(f"{NAME}:labels_given")
    assert method.labels_at_evaluation and not method.warnings


class _Flat(nn.Module):
    """An encoder of one's own: one dense layer."""

    outputs: int

    @nn.compact
    def __call__(self, images, label_input):
        flat = images.reshape(len(images), -1)
        return nn.Dense(self.outputs)(jnp.concatenate([flat, label_input], -1))


def test_networks_can_be_replaced():
    def networks(config, info):
        return cauf_vae.networks(config, info)._replace(encoder=_Flat(2 * info.num_factors))

    config, _ = bars.make(NAME)
    method = cauf_vae.make(config, INFO, networks=networks)
    batch = _case().batch
    variables = quick_jit(method.init)(jax.random.key(0), batch)
    assert variables["params"]["encoder"]["Dense_0"]["kernel"].shape == (16 * 16 + 6, 6)
    assert jax.tree.structure(variables["params"]["decoder"]) == jax.tree.structure(
        _case().variables["params"]["decoder"]
    )
    assert np.isfinite(list(bars.metrics_of(method.stages[0])(variables, batch).values())).all()


@pytest.mark.parametrize(
    ("overrides", "facts", "message"),
    [
        ({"model.flow.graph": ((0, 0), (1, 0))}, {}, "2 rows of length 2, but there"),
        ({}, {"graph": None}, "bars has no causal graph"),
        ({}, {"value_mean": None}, "bars has no labels"),
        ({"model.autoencoder.patch": -1}, {}, "patch is -1, but must be positive"),
        ({"model.prior": "flow"}, {}, "prior is 'flow', but must be one of labels, standard"),
        ({"model.prior": "standard"}, BINARY, "but right in bars has only the values 0 and 1"),
        ({"model.labels_hidden": 1.5}, {}, "labels_hidden is 1.5, but must be a share"),
        (
            {"model.labels_at_evaluation": True, "model.labels_into_encoder": False},
            {},
            "never reads labels",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(overrides, facts, message):
    with pytest.raises(UserError, match=message):
        bars.make(NAME, overrides, dataclasses.replace(INFO, **facts))


def test_the_experiment():
    bars.check_experiment(NAME)
    bars.check_smoke(NAME)
    for variant in ("labels_given", "no_labels", "standard_prior"):
        bars.make(f"{NAME}:{variant}")
    with pytest.raises(UserError, match="'labels_given', 'no_labels', 'standard_prior' and 'smok"):
        bars.make(f"{NAME}:labels")


@pytest.mark.slow
def test_the_literal_objective_leaves_every_edge_weaker_than_the_mechanism():
    # On clean Pendulum, with small networks; the measurement is the one in every log line. The
    # weight of alignment is that of pendulum_cpu in both, so that latents agree soon.
    name = "pendulum/clean"
    mechanism, info = data.mechanism(name), data.info(name)
    assert mechanism is not None and mechanism.render is not None
    rng = np.random.default_rng(0)
    angle, light = rng.uniform(-0.63, 0.67, 2048), rng.uniform(3.0, 17.0, 2048)
    values = np.stack([angle, light, *pendulum.shadow(angle, light, np)], 1).astype(np.float32)
    images = np.asarray(mechanism.render(values))
    small = {
        "model.autoencoder.width": 8,
        "model.autoencoder.hidden": 64,
        "model.weights.alignment": 2000.0,
    }

    def edges(experiment, steps):
        config = load_config(f"cauf_vae/{experiment}", small)
        method = methods.module(config.method).make(config, info)
        key = jax.random.key(0)
        batch = {"x": {"image": jnp.asarray(images[:2]), "values": jnp.asarray(values[:2])}}
        variables = quick_jit(method.init)(key, batch)
        metrics: dict[str, Any] = {}
        for stage in method.stages:
            optimizer = optax.adam(config.stages[stage.name].learning_rate)
            update = jax.jit(make_update(stage, (optimizer,), seed=0, start=0, axis_name=None))
            trained, _ = split(variables["params"], stage.objectives[0])
            state = State(variables, (optimizer.init(trained),), jnp.int32(0))
            columns = {"image": images, "values": values}
            if stage.name not in steps:
                break
            for _ in range(steps[stage.name]):
                rows = rng.integers(0, len(values), 32 if stage.name == "images" else 256)
                given = {column: columns[column][rows] for column in stage.columns}
                state, metrics = update(state, {"x": given})
            variables = state.variables
        return {n: float(x) for n, x in metrics.items() if n.startswith("edge_")}, metrics

    literal, metrics = edges("pendulum_literal", {"images": 500})
    shipped, _ = edges("pendulum_cpu", {"flow": 1000})
    assert set(literal) == set(shipped) and len(literal) == 4
    # Latents agree with labels: by that measure alone nothing would seem wrong.
    assert metrics["alignment"] < 0.2
    wanted = {"edge_light_position_to_shadow_length", "edge_light_position_to_shadow_position"}
    wanted |= {"edge_pendulum_angle_to_shadow_length", "edge_pendulum_angle_to_shadow_position"}
    assert set(literal) == wanted
    assert min(shipped.values()) > 0.35
    assert all(literal[edge] < 0.65 * shipped[edge] for edge in wanted)
