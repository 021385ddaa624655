"""Anchored CauF-VAE: its stages and losses, interventions, learning a structure, bad input."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cdis.data.info import Dataset, Info
from cdis.errors import UserError
from cdis.methods import anchored_cauf_vae, labels
from cdis.methods.base import Context, Stage
from cdis.networks.conditioner import Conditioner
from cdis.ops import causal_flow
from cdis.ops.adjacency import order_only
from cdis.training.state import State, split
from cdis.training.update import make_update
from tests.helpers import quick_jit
from tests.methods import bars
from tests.methods.bars import (
    BINARY,
    EXPERIMENTS,
    GRAPH,
    IMAGES,
    INFO,
    VALUES,
    B,
    Case,
    stage_of,
)

NAMES = tuple(
    path.stem for path in sorted(EXPERIMENTS.glob("*.py")) if path.stem != "pendulum_literal"
)
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "shipped": ("pendulum_cpu", {"model.extra": 2}),
    "spline": ("pendulum_mixed", {"model.flow.frozen": False, "model.weights.flow": 1.0}),
    "structure": ("structure_pendulum", {}),
    "from images": ("structure_pendulum:images", {}),
}
STAGES = {
    "shipped": ["flow", "images"],
    "spline": ["flow", "images"],
    "structure": ["structure", "flow"],
    "from images": ["encoder", "structure", "flow"],
}


def _make(name: str, overrides: dict[str, Any] | None = None, info: Info = INFO):
    experiment, values = VARIANTS[name]
    return bars.make(experiment, values | (overrides or {}), info)


@functools.cache
def _case(name: str) -> Case:
    return bars.case(*VARIANTS[name])


@pytest.mark.parametrize("name", VARIANTS)
def test_stages_are_those_that_the_config_describes(name):
    case = _case(name)
    assert [stage.name for stage in case.method.stages] == STAGES[name]
    assert set(case.config.stages) == set(STAGES[name])
    learnt = "structure" in STAGES[name]
    assert set(case.variables) == ({"params", "graph"} if learnt else {"params"})
    trained = {stage.name: bars.trained_parts(case, stage) for stage in case.method.stages}
    for label_only in {"structure", "flow"} & set(trained):
        assert trained[label_only] == {"conditioner"}
        wanted = ("latents",) if name == "from images" else ("values",)
        assert stage_of(case.method, label_only).columns == wanted
    if "images" in trained:
        frozen = {"conditioner"} if case.config.model.flow.frozen else set()
        assert trained["images"] == {"encoder", "decoder", "prior", "conditioner"} - frozen
    assert (case.method.decode is None) == ("images" not in trained)
    assert (case.method.encode is None) == (not {"encoder", "images"} & set(trained))


@pytest.mark.parametrize(
    ("name", "stage_name"),
    [
        ("shipped", "images"),
        pytest.param("spline", "images", marks=pytest.mark.slow),
        ("structure", "structure"),
        ("from images", "encoder"),
        ("from images", "flow"),
    ],
)
def test_losses(name, stage_name):
    case = _case(name)
    graph = order_only(3) if case.config.model.flow.order_only else GRAPH
    value, aux = bars.check_loss(case, stage_name, graph if stage_name != "encoder" else ())
    # The total is the weighted sum of its terms, each of which is in the log.
    weights = case.config.model.weights
    terms = bars.terms_of(aux.metrics)
    if stage_name == "images":
        expected = {"reconstruction", "drawing", "kl", "alignment"}
        expected |= {"extra", "dependence"} if name == "shipped" else set()
        expected |= {"flow"} if name == "spline" else set()
        assert set(terms) == expected
        np.testing.assert_allclose(value, sum(weights[t] * x for t, x in terms.items()), rtol=1e-5)
    if stage_name == "structure":
        total = terms["flow"] + weights.group_lasso * terms["group_lasso"]
        np.testing.assert_allclose(value, total, rtol=1e-5)
        assert set(aux.variables) == {"graph"}


@pytest.mark.parametrize("name", ["shipped", pytest.param("spline", marks=pytest.mark.slow)])
def test_what_a_trained_method_can_do(name):
    case = _case(name)
    bars.check_abilities(case, extra=case.config.model.extra)


def test_interventions_are_counterfactuals_of_the_flow():
    # The image of an intervention is the decoded counterfactual of its latents.
    case = _case("shipped")
    config, method = case.config, case.method
    conditioner = Conditioner(3, config.model.flow.hidden, 2)
    mechanisms: Any = conditioner.apply({"params": case.variables["params"]["conditioner"]})
    assert method.encode and method.decode and method.factors.do
    images = case.batch["x"]["image"]
    vectors = quick_jit(method.encode)(case.variables, images)["vectors"]
    z, extra = vectors[:, :3], vectors[:, 3:]
    fixed, values = np.zeros((B, 3), bool), np.zeros((B, 3), np.float32)
    fixed[:, 0], values[:, 0] = True, (7.5 - 5.0) / 2.0
    expected = causal_flow.counterfactual(
        mechanisms,
        jnp.array(GRAPH, jnp.float32),
        z,
        jnp.asarray(fixed),
        jnp.asarray(values),
        order=range(3),
        transform=causal_flow.AFFINE,
    )
    np.testing.assert_allclose(expected[:, 1], z[:, 1], atol=1e-5)
    assert np.abs(np.asarray(expected[:, 2]) - z[:, 2]).max() > 1e-3
    whole = {"vectors": jnp.concatenate([expected, extra], -1)}
    decoded = quick_jit(method.decode)(case.variables, whole)
    given = jnp.full((B, 3), 7.5)  # of which the first counts
    found = quick_jit(method.factors.do)(case.variables, images, fixed[0], given)
    np.testing.assert_allclose(found, decoded, atol=1e-5)


def test_structure_prunes_what_is_weak():
    case = _case("structure")
    method, variables = case.method, case.variables
    assert method.factors.structure is not None
    structure = quick_jit(method.factors.structure)
    strong = variables | {"graph": {"strength": jnp.full((3, 3), 9.0)}}
    values = case.batch["x"]["values"]
    every = structure(strong, values)
    assert (np.asarray(every.edge_strength)[np.tril_indices(3, -1)] > 0).all()
    weak = strong["graph"]["strength"].at[1, 0].set(0.01)
    pruned = structure(variables | {"graph": {"strength": weak}}, values)
    assert pruned.edge_strength[1, 0] == 0 and not pruned.adjacency[1, 0]
    np.testing.assert_array_equal(pruned.edge_strength[2], every.edge_strength[2])


def test_the_fraction_of_labelled_images():
    values = jnp.asarray(np.random.default_rng(0).normal(size=(20_000, 3)), jnp.float32)
    for fraction in (0.1, 0.5, 1.0):
        labelled = labels.labelled(values, fraction)
        np.testing.assert_allclose(np.mean(labelled), fraction, atol=0.015)
        np.testing.assert_array_equal(labelled, labels.labelled(values, fraction))
        # An image's labels decide, not its place in the batch.
        np.testing.assert_array_equal(labelled[::-1], labels.labelled(values[::-1], fraction))


def test_the_latent_of_a_binary_label_is_its_logit():
    """The alignment loss image by image, as by hand: squared error, and cross-entropy."""
    info = dataclasses.replace(INFO, **BINARY)
    _, method = _make("shipped", info=info)
    values = VALUES[:B].copy()
    values[:, 1] = values[:, 1] > 5
    assert 0 < values[:, 1].sum() < B
    batch = {"x": {"image": jnp.asarray(IMAGES[:B]), "values": jnp.asarray(values)}}
    variables = quick_jit(method.init)(jax.random.key(0), batch)
    assert method.encode is not None
    encoded = quick_jit(method.encode)(variables, batch["x"]["image"])["vectors"]
    latents = np.asarray(encoded, float)
    expected, mean, std = 0.0, np.array(INFO.value_mean), np.array(INFO.value_std)
    for z, label in zip(latents, values.astype(float), strict=True):
        for i in (0, 2):
            expected += (z[i] - (label[i] - mean[i]) / std[i]) ** 2
        probability = 1 / (1 + np.exp(-z[1]))
        expected -= np.log(probability if label[1] else 1 - probability)
    metrics = bars.metrics_of(stage_of(method, "images"))(variables, batch)
    np.testing.assert_allclose(metrics["alignment"], expected / B, rtol=1e-4)


def test_images_without_labels_have_no_alignment():
    _, method = _make("shipped", {"model.label_fraction": 1e-6})
    case = _case("shipped")
    run = bars.metrics_of(stage_of(method, "images"))
    metrics = run(case.variables, case.batch)
    assert metrics["alignment"] == 0 and metrics["reconstruction"] != 0
    # Their labels change nothing: the prior is the flow's own, and latents are drawn.
    moved = run(case.variables, {"x": case.batch["x"] | {"values": case.batch["x"]["values"] + 1}})
    for term in ("kl", "drawing", "dependence"):
        np.testing.assert_allclose(moved[term], metrics[term], rtol=1e-6)


# The decoder learns from labels


def _gradients(case: Case, method: Any, batch: Any, term: str) -> dict[str, bool]:
    """Which groups of parameters have a gradient of a term of the stage "images"."""
    loss = stage_of(method, "images").objectives[0].loss
    context = Context(jax.random.key(2), jnp.int32(0), None)

    def value(params: Any) -> Any:
        return loss(case.variables | {"params": params}, batch, context)[1].metrics[term]

    slopes = quick_jit(jax.grad(value))(case.variables["params"])
    return {
        part: any(np.any(np.asarray(x)) for x in jax.tree.leaves(slopes[part])) for part in slopes
    }


def test_labels_train_the_decoder_and_the_encoder_learns_against_it():
    case = _case("shipped")
    drawing = _gradients(case, case.method, case.batch, "drawing")
    assert drawing["decoder"] and not drawing["encoder"]
    reconstruction = _gradients(case, case.method, case.batch, "reconstruction")
    assert reconstruction["encoder"] and not reconstruction["decoder"]
    # As published, one term trains both.
    _, method = _make("shipped", {"model.decoder.learns_from": "latents"})
    reconstruction = _gradients(case, method, case.batch, "reconstruction")
    assert reconstruction["encoder"] and reconstruction["decoder"]
    assert "drawing" not in bars.metrics_of(stage_of(method, "images"))(case.variables, case.batch)


def test_what_is_drawn_are_labels_where_they_are_known():
    """Entry by entry: continuous labels that are known, plus noise, and the latents elsewhere."""
    info = dataclasses.replace(INFO, partly_labelled=True, **BINARY)
    config, method = _make("shipped", info=info)
    loss: Any = stage_of(method, "images").objectives[0].loss
    model, variables = loss.args[0], _case("shipped").variables
    values = VALUES[:B].copy()
    values[:, 1] = values[:, 1] > 5
    values[::3, 0] = np.nan
    given = labels.read(model.scale, jnp.asarray(values))
    rng = np.random.default_rng(0)
    vectors, key = rng.normal(size=(B, 5)).astype(np.float32), jax.random.key(1)
    noise = config.model.decoder.noise * np.asarray(jax.random.normal(key, (B, 3)))
    mean, std = np.array(info.value_mean), np.array(info.value_std)
    drawn = vectors.copy()
    for b, i in np.ndindex(B, 3):
        if i != 1 and np.isfinite(values[b, i]):
            drawn[b, i] = (values[b, i] - mean[i]) / std[i]
        drawn[b, i] += noise[b, i]
    params = variables["params"]["decoder"]
    image = np.asarray(model.networks.decoder.apply({"params": params}, jnp.asarray(drawn)))
    error = (image / 2 + 0.5 - IMAGES[:B] / 255) / config.model.pixel_std
    expected = (error**2 / 2 + np.log(config.model.pixel_std * np.sqrt(2 * np.pi))).sum((1, 2, 3))
    found = anchored_cauf_vae.drawing(
        model, variables, jnp.asarray(IMAGES[:B]), given, jnp.asarray(vectors), key
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_sample_without_spread_is_the_mean():
    # The labelled part goes through the flow, from F^-1(zbar) to zbar; the extra part does not.
    case = _case("shipped")
    loss: Any = stage_of(case.method, "images").objectives[0].loss
    model, images = loss.args[0], case.batch["x"]["image"]

    @quick_jit
    def sample(variables):
        mean, std, zbar = anchored_cauf_vae.posterior(model, variables, images)
        key = jax.random.key(0)
        vectors, _ = anchored_cauf_vae.latents_sample(model, variables, mean, 0 * std, key)
        return mean, zbar, vectors

    mean, zbar, vectors = sample(case.variables)
    np.testing.assert_allclose(vectors[:, :3], zbar, atol=1e-5)
    np.testing.assert_array_equal(vectors[:, 3:], mean[:, 3:])
    assert np.abs(np.asarray(mean[:, :3] - zbar)).max() > 1e-3


def test_few_labels_are_in_every_batch():
    _, method = _make("shipped", {"model.label_fraction": 0.3})
    values = VALUES + np.random.default_rng(0).normal(size=VALUES.shape).astype(np.float32)
    dataset = _dataset(values)
    index = np.arange(50)
    labelled = set(index[np.asarray(labels.labelled(jnp.asarray(values[:50]), 0.3))].tolist())
    assert 5 < len(labelled) < 30
    stages = {stage.name: stage.rows.find(dataset, index) for stage in method.stages}
    # The causal flow sees labelled images alone; the whole model every image, each beside one.
    assert set(stages["flow"].images["x"].tolist()) == labelled
    whole = stages["images"].images
    np.testing.assert_array_equal(whole["x"], index)
    assert set(whole["labelled"].tolist()) == labelled
    # With all labels, or most of them, there is no need to put any beside.
    for fraction in (0.9, 1.0):
        _, method = _make("shipped", {"model.label_fraction": fraction})
        assert set(stage_of(method, "images").rows.find(dataset, index).images) == {"x"}


def test_labels_of_the_second_batch_are_those_that_align():
    case = _case("shipped")
    _, method = _make("shipped", {"model.label_fraction": 0.3})
    known = np.asarray(labels.labelled(jnp.asarray(VALUES), 0.3))
    assert 0 < known.sum() < len(known)
    rows = np.resize(np.flatnonzero(known), B)
    second = {"image": jnp.asarray(IMAGES[rows]), "values": jnp.asarray(VALUES[rows])}
    run = bars.metrics_of(stage_of(method, "images"))
    metrics = run(case.variables, case.batch | {"labelled": second})
    assert case.method.encode is not None
    encoded = quick_jit(case.method.encode)(case.variables, second["image"])["vectors"]
    u = (VALUES[rows] - np.array(INFO.value_mean)) / np.array(INFO.value_std)
    error = ((np.asarray(encoded)[:, :3] - u) ** 2).sum(1).mean()
    np.testing.assert_allclose(metrics["alignment"], error, rtol=1e-4)
    assert metrics["drawing"] > run(case.variables, case.batch)["drawing"]


def test_networks_can_be_replaced():
    def networks(config, info):
        wide = Conditioner(info.num_factors, 5, causal_flow.AFFINE.num_parameters)
        return anchored_cauf_vae.networks(config, info)._replace(conditioner=wide)

    case = _case("shipped")
    method = anchored_cauf_vae.make(case.config, INFO, networks=networks)
    variables = quick_jit(method.init)(jax.random.key(0), case.batch)
    assert variables["params"]["conditioner"]["hidden_bias"].shape == (3, 5)
    metrics = bars.metrics_of(stage_of(method, "flow"))(variables, case.batch)
    assert np.isfinite(list(metrics.values())).all()


# Learning


def _train(stage: Stage, variables, batch, *, steps: int, rate: float):
    optimizer = optax.adam(rate)
    update = make_update(stage, (optimizer,), seed=0, start=0, axis_name=None)
    trained, _ = split(variables["params"], stage.objectives[0])
    state = State(variables, (optimizer.init(trained),), jnp.int32(0))
    state, metrics = jax.jit(
        lambda state: jax.lax.scan(lambda s, _: update(s, batch), state, length=steps)
    )(state)
    return state.variables, metrics


def test_a_structure_is_learnt_and_refitted():
    _, values = bars.bars(512, seed=1)
    _, method = _make("structure")
    batch = {"x": {"values": jnp.asarray(values)}}
    example = {"x": {"image": jnp.asarray(IMAGES[:2]), "values": batch["x"]["values"][:2]}}
    variables = quick_jit(method.init)(jax.random.key(0), example)
    variables, _ = _train(stage_of(method, "structure"), variables, batch, steps=400, rate=1e-2)
    refit = stage_of(method, "flow")
    # A sample of the blur moves the loss by more than refitting does: the same samples for both.
    loss = quick_jit(
        lambda v, key: refit.objectives[0].loss(v, batch, Context(key, jnp.int32(0), None))[0]
    )
    keys = jax.random.split(jax.random.key(9), 16)
    with_price = np.array([loss(variables, key) for key in keys])
    variables, _ = _train(refit, variables, batch, steps=200, rate=1e-3)
    without = np.array([loss(variables, key) for key in keys])
    assert without.mean() < with_price.mean() - 1e-3
    assert method.factors.structure is not None
    found = method.factors.structure(variables, batch["x"]["values"])
    np.testing.assert_array_equal(np.asarray(found.adjacency, int), GRAPH)
    # The effect is a half of each cause: 0.5 * 2.0 / 1.5 in standardised units.
    np.testing.assert_allclose(found.edge_strength[2, :2], 2 / 3, atol=0.12)


# Bad input


@pytest.mark.parametrize(
    ("name", "overrides", "facts", "message"),
    [
        (
            "shipped",
            {"model.flow.transform": "linear"},
            {},
            "flow.transform is 'linear', but must be one of affine, spline",
        ),
        ("shipped", {"model.flow.graph": ((0, 0), (1, 0))}, {}, "2 rows of length 2, but there"),
        (
            "shipped",
            {"model.flow.graph": ((0, 1, 0), (1, 0, 0), (0, 0, 0))},
            {},
            "cycle: left, right cause",
        ),
        ("shipped", {}, {"graph": None}, "bars has no causal graph"),
        ("shipped", {}, {"value_mean": None}, "bars has no labels"),
        ("shipped", {"model.label_fraction": 0.0}, {}, "label_fraction is 0.0"),
        (
            "shipped",
            {"model.label_fraction": 0.5},
            {"factor_sizes": (2, 2, 2)},
            "labels of bars are discrete",
        ),
        ("shipped", {"model.autoencoder.patch": -1}, {}, "patch is -1, but must be positive"),
        ("structure", {"model.flow.fit_to": "images"}, {}, "no stage 'encoder'"),
    ],
)
def test_what_makes_no_sense_is_refused(name, overrides, facts, message):
    with pytest.raises(UserError, match=message):
        _make(name, overrides, dataclasses.replace(INFO, **facts))


def test_a_flow_that_no_stage_fits_cannot_be_frozen():
    config, _ = _make("shipped")
    config = config.copy_and_resolve_references().unlock()
    del config.stages.flow
    with pytest.raises(UserError, match="no stage 'flow'"):
        anchored_cauf_vae.make(config.lock(), INFO)


def _dataset(values: np.ndarray, info: Info = INFO) -> Dataset:
    splits = {name: np.arange(len(values)) for name in ("train", "validation", "test")}
    return Dataset(info, IMAGES, np.zeros(values.shape, np.int32), splits, values)


@pytest.mark.parametrize(
    ("value", "facts", "message"),
    [
        (np.nan, {}, "1 of 64 labels of right in bars are missing"),
        (1e3, {}, "1 of 64 labels of right in bars are out of range, such as 1000"),
        (0.5, BINARY, "expected 0 or 1"),
    ],
)
def test_labels_are_checked_before_training(value, facts, message):
    _, method = _make("shipped", info=dataclasses.replace(INFO, **facts))
    assert method.check is not None
    values = VALUES.copy()
    if facts:
        values[:, 1] = values[:, 1] > 5
    method.check(_dataset(values))
    values[7, 1] = value
    with pytest.raises(UserError, match=message):
        method.check(_dataset(values))


# Experiments


@pytest.mark.parametrize("name", NAMES)
def test_experiments_are_whole(name):
    bars.check_experiment(name)


# tests/test_celeba.py runs CelebA from end to end; the others' programs are that of pendulum_cpu.
_QUICK = {"flow", "pendulum_cpu", "pendulum_mixed", "structure_pendulum"}


@pytest.mark.parametrize(
    "name", [n if n in _QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NAMES]
)
def test_smoke_variants_train_two_steps_of_each_stage(name):
    bars.check_smoke(name)
