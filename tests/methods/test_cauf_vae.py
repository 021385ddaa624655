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
from cdis.methods import cauf_vae, labels
from cdis.methods.causal_latents import Model
from cdis.ops import causal_flow
from cdis.training.state import State, split
from cdis.training.update import make_update
from tests.helpers import quick_jit
from tests.methods import bars
from tests.methods.bars import GRAPH, INFO, B, Case

NAME = "pendulum_literal"


@functools.cache
def _case() -> Case:
    return bars.case(NAME)


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
    case = _case()
    networks, graph = cauf_vae.networks(case.config, INFO), np.array(GRAPH, np.float32)
    scale = labels.scale(INFO)
    model = Model(case.config.model, INFO, networks, graph, scale, causal_flow.AFFINE)
    seen = jnp.arange(B)[:, None] < 4
    u = jax.random.normal(jax.random.key(0), (B, 3))

    @quick_jit
    def zbar(u):
        return cauf_vae.posterior(model, case.variables, case.batch["x"]["image"], u, seen)[2]

    changed = np.abs(np.asarray(zbar(u)) - np.asarray(zbar(u + 1))).max(1)
    assert (changed[:4] > 1e-4).all() and (changed[4:] == 0).all()


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
    ],
)
def test_what_makes_no_sense_is_refused(overrides, facts, message):
    with pytest.raises(UserError, match=message):
        bars.make(NAME, overrides, dataclasses.replace(INFO, **facts))


def test_the_experiment():
    bars.check_experiment(NAME)
    bars.check_smoke(NAME)


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
