"""CauF-VAE as a method: what it promises to the loop and to evaluation, and that its flow is alive.

Tiny networks on stand-in images of three bars: two causes, and an effect that is their sum.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cdis import data
from cdis.config import load_config
from cdis.data import pendulum
from cdis.data.info import Dataset, Info
from cdis.errors import UserError
from cdis.methods import cauf_vae
from cdis.methods.base import Context, Method, Stage
from cdis.ops import causal_flow
from cdis.ops.adjacency import order_only
from cdis.train.state import State, by_path, split
from cdis.train.update import make_update

EXPERIMENTS = Path(__file__).parents[2] / "experiments" / "cauf_vae"
NAMES = tuple(path.stem for path in sorted(EXPERIMENTS.glob("*.py")))
GRAPH = ((0, 0, 0), (0, 0, 0), (1, 1, 0))
INFO = Info(
    name="bars",
    factor_names=("left", "right", "sum"),
    factor_sizes=(0, 0, 0),
    circular=(False, False, False),
    image_shape=(16, 16, 1),
    licence="none",
    citation="none",
    description="The heights of three bars.",
    count=64,
    graph=GRAPH,
    value_mean=(5.0, 5.0, 6.0),
    value_std=(2.0, 2.0, 1.5),
)
B = 16

TINY = {
    "model.autoencoder.patch": 2,
    "model.autoencoder.width": 4,
    "model.autoencoder.hidden": 12,
    "model.flow.hidden": 8,
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "shipped": ("pendulum_cpu.py", TINY),
    "literal": ("pendulum_literal.py", TINY | {"model.extra": 2}),
    "spline": ("pendulum_mixed.py", TINY | {"model.flow.frozen": False, "model.weights.flow": 1.0}),
    "structure": ("structure_pendulum.py", TINY),
    "from images": (
        "structure_pendulum.py:images",
        TINY | {"model.flow.fit_to": "images"},
    ),
}

# These programs run a few times: what they cost is their compilation.
_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


class Case(NamedTuple):
    config: Any
    method: Method
    variables: dict[str, Any]
    batch: dict[str, Any]


def _bars(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images and values; the third bar is as high as half of the two others' heights, and noise."""
    rng = np.random.default_rng(seed)
    causes = rng.uniform(1.5, 8.5, (n, 2))
    effect = causes.mean(1, keepdims=True) + 1 + 0.1 * rng.normal(size=(n, 1))
    values = np.concatenate([causes, effect], 1).astype(np.float32)
    rows = np.arange(16)[None, :, None]
    lit = np.clip(values[:, None, :] - rows, 0, 1)  # antialiased heights, [n, 16, 3]
    images = np.repeat(np.pad(lit, ((0, 0), (0, 0), (0, 1))), 4, axis=2)[..., None]
    return np.round(255 * images).astype(np.uint8), values


IMAGES, VALUES = _bars(64)


def _make(name: str, overrides: dict[str, Any] | None = None, info: Info = INFO):
    file, values = VARIANTS[name]
    file = file if ":" in file else f"{file}:smoke"
    config = load_config(str(EXPERIMENTS / file), values | (overrides or {}))
    return config, cauf_vae.make(config, info)


def _case_of(config: Any, method: Method) -> Case:
    batch = {"x": {"image": jnp.asarray(IMAGES[:B]), "values": jnp.asarray(VALUES[:B])}}
    variables = _jit(method.init)(jax.random.key(0), batch)
    for stage in method.stages:
        if stage.precompute is not None:
            batch["x"] |= _jit(stage.precompute)(variables, batch["x"]["image"])
    return Case(config, method, variables, batch)


@functools.cache
def _case(name: str) -> Case:
    return _case_of(*_make(name))


def _stage(method: Method, name: str) -> Stage:
    return next(stage for stage in method.stages if stage.name == name)


STAGES = {
    "shipped": ["flow", "images"],
    "literal": ["images"],
    "spline": ["flow", "images"],
    "structure": ["structure", "flow"],
    "from images": ["encoder", "structure", "flow"],
}


@pytest.mark.parametrize("name", VARIANTS)
def test_stages_are_those_that_the_config_describes(name):
    case = _case(name)
    assert [stage.name for stage in case.method.stages] == STAGES[name]
    assert set(case.config.stages) == set(STAGES[name])
    learnt = "structure" in STAGES[name]
    assert set(case.variables) == ({"params", "graph"} if learnt else {"params"})
    trained = {
        stage.name: {
            path.split("/")[0] for path in split(case.variables["params"], stage.objectives[0])[0]
        }
        for stage in case.method.stages
    }
    for label_only in {"structure", "flow"} & set(trained):
        assert trained[label_only] == {"conditioner"}
        wanted = ("latents",) if name == "from images" else ("values",)
        assert _stage(case.method, label_only).columns == wanted
    if "images" in trained:
        frozen = {"conditioner"} if case.config.model.flow.frozen else set()
        assert trained["images"] == {"encoder", "decoder", "prior", "conditioner"} - frozen
    assert (case.method.decode is None) == ("images" not in trained)
    assert (case.method.encode is None) == (not {"encoder", "images"} & set(trained))


@pytest.mark.parametrize(
    ("name", "stage_name"),
    [
        ("shipped", "images"),
        ("literal", "images"),
        pytest.param("spline", "images", marks=pytest.mark.slow),
        ("structure", "structure"),
        ("from images", "encoder"),
        ("from images", "flow"),
    ],
)
def test_losses(name, stage_name):
    case = _case(name)
    stage = _stage(case.method, stage_name)
    batch = {"x": {column: case.batch["x"][column] for column in stage.columns}}

    def run(params, key):
        return stage.objectives[0].loss(
            case.variables | {"params": params}, batch, Context(key, jnp.int32(0), None)
        )

    key = jax.random.key(3)
    (value, aux), slopes = _jit(jax.value_and_grad(run, has_aux=True))(
        case.variables["params"], key
    )
    assert np.isfinite(value) and all(np.shape(x) == () for x in aux.metrics.values())
    # The total is the weighted sum of its terms, each of which is in the log.
    weights = case.config.model.weights
    terms = {term: x for term, x in aux.metrics.items() if not term.startswith("edge_")}
    if stage_name == "images":
        expected = {"reconstruction", "kl", "alignment"}
        expected |= {"extra"} if name == "literal" else set()
        expected |= {"flow"} if name == "spline" else set()
        assert set(terms) == expected
        np.testing.assert_allclose(value, sum(weights[t] * x for t, x in terms.items()), rtol=1e-5)
    if stage_name == "structure":
        total = terms["flow"] + weights.group_lasso * terms["group_lasso"]
        np.testing.assert_allclose(value, total, rtol=1e-5)
        assert set(aux.variables) == {"graph"}
    # Whatever a stage says it trains has a finite gradient, in some of its parameters not zero.
    slopes = by_path(slopes)
    assert all(np.isfinite(slope).all() for slope in slopes.values())
    trained = set(split(case.variables["params"], stage.objectives[0])[0])
    for part in {path.split("/")[0] for path in trained}:
        assert any(np.any(x) for path, x in slopes.items() if path.startswith(f"{part}/")), part
    # Every edge of the graph, and no other, has its strength in the log.
    logged = {metric for metric in aux.metrics if metric.startswith("edge_")}
    graph = order_only(3) if case.config.model.flow.order_only else np.array(GRAPH)
    edges = {
        f"edge_{INFO.factor_names[j]}_to_{INFO.factor_names[i]}" for i, j in np.argwhere(graph)
    }
    assert logged == (edges if stage_name != "encoder" else set())


@pytest.mark.parametrize(
    "name", ["shipped", "literal", pytest.param("spline", marks=pytest.mark.slow)]
)
def test_what_a_trained_method_can_do(name):
    case = _case(name)
    method, variables, images = case.method, case.variables, case.batch["x"]["image"]
    assert method.encode and method.decode and method.factors.do and method.elbo
    extra = case.config.model.extra
    represented = _jit(method.encode)(variables, images)
    vectors = represented["vectors"]
    assert vectors.shape == (B, 3 + extra) and method.factors.num_labelled == 3
    drawn = _jit(method.decode)(variables, represented)
    assert drawn.shape == (B, *INFO.image_shape) and np.abs(drawn).max() <= 1

    # Setting a factor to what it is changes nothing; to something else, it does.
    intervene = _jit(method.factors.do)
    mean, std = np.array(INFO.value_mean), np.array(INFO.value_std)
    own = np.asarray(vectors)[:, :3] * std + mean
    for factor in range(3):
        same = intervene(variables, images, factor, own[:, factor].astype(np.float32))
        np.testing.assert_allclose(same, drawn, atol=1e-4)
        other = intervene(variables, images, factor, own[:, factor].astype(np.float32) + 3)
        assert np.abs(np.asarray(other) - np.asarray(drawn)).max() > 1e-4

    bound = _jit(method.elbo)(variables, images, case.batch["x"]["values"], jax.random.key(0))
    assert bound.shape == (B,) and np.isfinite(bound).all()


def test_interventions_are_counterfactuals_of_the_flow():
    # With a decoder that draws its latents, the image shows what the intervention did to them.
    config, method = _make("shipped")
    case = _case("shipped")
    conditioner = cauf_vae.Conditioner(3, config.model.flow.hidden, 2)
    mechanisms: Any = conditioner.apply({"params": case.variables["params"]["conditioner"]})
    assert method.encode and method.decode and method.factors.do
    images = case.batch["x"]["image"]
    z = _jit(method.encode)(case.variables, images)["vectors"]
    fixed, values = np.zeros((B, 3), bool), np.zeros((B, 3), np.float32)
    fixed[:, 0], values[:, 0] = True, (7.5 - 5.0) / 2.0
    expected = causal_flow.counterfactual(
        mechanisms,
        jnp.array(GRAPH, jnp.float32),
        z,
        jnp.asarray(fixed),
        jnp.asarray(values),
        transform=causal_flow.AFFINE,
    )
    np.testing.assert_allclose(expected[:, 1], z[:, 1], atol=1e-5)
    assert np.abs(np.asarray(expected[:, 2]) - z[:, 2]).max() > 1e-3
    drawn = _jit(method.decode)(case.variables, {"vectors": expected})
    found = _jit(method.factors.do)(case.variables, images, 0, jnp.full(B, 7.5))
    np.testing.assert_allclose(found, drawn, atol=1e-5)


def test_structure_prunes_what_is_weak():
    case = _case("structure")
    method, variables = case.method, case.variables
    assert method.factors.structure is not None
    strong = variables | {"graph": {"strength": jnp.full((3, 3), 9.0)}}
    values = case.batch["x"]["values"]
    every = _jit(method.factors.structure)(strong, values)
    assert (np.asarray(every["edge_strength"])[np.tril_indices(3, -1)] > 0).all()
    weak = strong["graph"]["strength"].at[1, 0].set(0.01)
    pruned = _jit(method.factors.structure)(variables | {"graph": {"strength": weak}}, values)
    assert pruned["edge_strength"][1, 0] == 0 and not pruned["adjacency"][1, 0]
    np.testing.assert_array_equal(pruned["edge_strength"][2], every["edge_strength"][2])


def test_the_share_of_labelled_images():
    values = jnp.asarray(np.random.default_rng(0).normal(size=(20_000, 3)), jnp.float32)
    for fraction in (0.1, 0.5, 1.0):
        labelled = cauf_vae._labelled(values, fraction)
        np.testing.assert_allclose(np.mean(labelled), fraction, atol=0.015)
        np.testing.assert_array_equal(labelled, cauf_vae._labelled(values, fraction))
        # An image's labels decide, not its place in the batch.
        np.testing.assert_array_equal(labelled[::-1], cauf_vae._labelled(values[::-1], fraction))


def test_the_latent_of_a_binary_label_is_its_logit():
    """The alignment loss image by image, as by hand: squared error, and cross-entropy."""
    info = dataclasses.replace(INFO, factor_sizes=(0, 2, 0))
    _, method = _make("shipped", info=info)
    values = VALUES[:B].copy()
    values[:, 1] = values[:, 1] > 5
    assert 0 < values[:, 1].sum() < B
    batch = {"x": {"image": jnp.asarray(IMAGES[:B]), "values": jnp.asarray(values)}}
    variables = _jit(method.init)(jax.random.key(0), batch)
    stage = _stage(method, "images")
    run = _jit(
        lambda v, b: (
            stage.objectives[0]
            .loss(v, b, Context(jax.random.key(0), jnp.int32(0), None))[1]
            .metrics
        )
    )
    assert method.encode is not None
    latents = np.asarray(_jit(method.encode)(variables, batch["x"]["image"])["vectors"], float)
    expected, mean, std = 0.0, np.array(INFO.value_mean), np.array(INFO.value_std)
    for z, told in zip(latents, values.astype(float), strict=True):
        for i in (0, 2):
            expected += (z[i] - (told[i] - mean[i]) / std[i]) ** 2
        probability = 1 / (1 + np.exp(-z[1]))
        expected -= np.log(probability if told[1] else 1 - probability)
    np.testing.assert_allclose(run(variables, batch)["alignment"], expected / B, rtol=1e-4)


def test_images_without_labels_have_no_alignment():
    _, method = _make("shipped", {"model.label_fraction": 1e-6})
    case = _case("shipped")
    stage = _stage(method, "images")
    run = _jit(
        lambda v, b: (
            stage.objectives[0]
            .loss(v, b, Context(jax.random.key(0), jnp.int32(0), None))[1]
            .metrics
        )
    )
    metrics = run(case.variables, case.batch)
    assert metrics["alignment"] == 0 and metrics["reconstruction"] != 0
    # What labels there are have no say: the prior is the flow's own.
    moved = {"x": case.batch["x"] | {"values": case.batch["x"]["values"] + 1.0}}
    np.testing.assert_allclose(run(case.variables, moved)["kl"], metrics["kl"], rtol=1e-6)


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
    _, values = _bars(512, seed=1)
    _, method = _make("structure", {"model.flow.threshold": 0.2, "model.weights.group_lasso": 0.03})
    batch = {"x": {"values": jnp.asarray(values)}}
    example = {"x": {"image": jnp.asarray(IMAGES[:2]), "values": batch["x"]["values"][:2]}}
    variables = _jit(method.init)(jax.random.key(0), example)
    variables, _ = _train(_stage(method, "structure"), variables, batch, steps=400, rate=1e-2)
    refit = _stage(method, "flow")
    # Each draw of the blur moves the loss by more than refitting does: the same draws for both.
    loss = _jit(
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
        ("shipped", {"model.head": "factors"}, {}, "model.head is 'factors', but must be one of"),
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
        ("shipped", {"model.autoencoder.patch": 3}, {}, "divisible by 6"),
        ("literal", {"model.flow.frozen": True}, {}, "no stage 'flow'"),
        ("structure", {"model.flow.fit_to": "images"}, {}, "no stage 'encoder'"),
    ],
)
def test_what_makes_no_sense_is_refused(name, overrides, facts, message):
    with pytest.raises(UserError, match=message):
        _make(name, overrides, dataclasses.replace(INFO, **facts))


def _dataset(values: np.ndarray, info: Info = INFO) -> Dataset:
    splits = {name: np.arange(len(values)) for name in ("train", "validation", "test")}
    return Dataset(info, IMAGES, np.zeros(values.shape, np.int32), splits, values)


@pytest.mark.parametrize(
    ("value", "sizes", "message"),
    [
        (np.nan, (0, 0, 0), "1 of 64 labels of right in bars are missing"),
        (1e3, (0, 0, 0), "1 of 64 labels of right in bars are out of range, such as 1000"),
        (0.5, (0, 2, 0), "expected 0 or 1"),
    ],
)
def test_labels_are_checked_before_training(value, sizes, message):
    _, method = _make("shipped", info=dataclasses.replace(INFO, factor_sizes=sizes))
    assert method.check is not None
    values = VALUES.copy()
    if sizes[1] == 2:
        values[:, 1] = values[:, 1] > 5
    method.check(_dataset(values))
    values[7, 1] = value
    with pytest.raises(UserError, match=message):
        method.check(_dataset(values))


# Experiments


@pytest.mark.parametrize("name", NAMES)
def test_experiments_are_whole(name):
    for suffix in ("", ":smoke"):
        config = load_config(f"{EXPERIMENTS / name}.py{suffix}")
        info = data.info(config.data.name)
        method = cauf_vae.make(config, info)
        assert set(config.stages) == {stage.name for stage in method.stages}
    with pytest.raises(UserError, match="smoke"):
        load_config(f"{EXPERIMENTS / name}.py:tiny")


@pytest.mark.parametrize(
    "name",
    # tests/test_celeba.py runs these from end to end.
    [n if "celeba" not in n else pytest.param(n, marks=pytest.mark.slow) for n in NAMES],
)
def test_smoke_variants_train_two_steps_of_each_stage(name):
    config = load_config(f"{EXPERIMENTS / name}.py:smoke")
    info = data.info(config.data.name)
    method = cauf_vae.make(config, info)
    rng = np.random.default_rng(0)
    mean, std = np.array(info.value_mean), np.array(info.value_std)
    values = mean + std * rng.uniform(-1.5, 1.5, (8, info.num_factors))
    values = np.where(np.array(info.factor_sizes) == 2, values > mean, values)
    batch: dict[str, Any] = {
        "x": {
            "image": rng.integers(0, 256, (8, *info.image_shape), np.uint8),
            "values": values.astype(np.float32),
        }
    }
    variables = _jit(method.init)(jax.random.key(0), batch)
    for stage in method.stages:
        if stage.precompute is not None:
            batch["x"] |= _jit(stage.precompute)(variables, batch["x"]["image"])
        optimizer = optax.adam(1e-3)
        update = _jit(make_update(stage, (optimizer,), seed=0, start=0, axis_name=None))
        trained, _ = split(variables["params"], stage.objectives[0])
        state = State(variables, (optimizer.init(trained),), jnp.int32(0))
        given = {"x": {column: batch["x"][column] for column in stage.columns}}
        for _ in range(config.stages[stage.name].steps):
            state, metrics = update(state, given)
            assert all(np.isfinite(x) for x in jax.device_get(metrics).values())
        assert state.step == 2
        variables = state.variables


# The trap: a flow that says too little


@pytest.mark.slow
def test_the_literal_objective_leaves_every_edge_weaker_than_the_mechanism():
    # On clean Pendulum, with small networks; what is measured is what every log line has. The
    # weight of alignment is that of pendulum_cpu.py in both, so that latents agree soon.
    name = "pendulum/clean"
    mechanism, info = data.mechanism(name), data.info(name)
    assert mechanism is not None
    rng = np.random.default_rng(0)
    angle, light = rng.uniform(-0.63, 0.67, 2048), rng.uniform(3.0, 17.0, 2048)
    values = np.stack([angle, light, *pendulum.shadow(angle, light, np)], 1).astype(np.float32)
    images = np.asarray(mechanism.render(values))
    small = {
        "model.autoencoder.width": 8,
        "model.autoencoder.hidden": 64,
        "model.weights.alignment": 2000.0,
    }

    def edges(file, steps):
        config = load_config(str(EXPERIMENTS / file), small)
        method = cauf_vae.make(config, info)
        key = jax.random.key(0)
        batch = {"x": {"image": jnp.asarray(images[:2]), "values": jnp.asarray(values[:2])}}
        variables = _jit(method.init)(key, batch)
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

    literal, metrics = edges("pendulum_literal.py", {"images": 500})
    shipped, _ = edges("pendulum_cpu.py", {"flow": 1000})
    assert set(literal) == set(shipped) and len(literal) == 4
    # Latents agree with labels: by that measure alone nothing would seem wrong.
    assert metrics["alignment"] < 0.2
    wanted = {"edge_light_position_to_shadow_length", "edge_light_position_to_shadow_position"}
    wanted |= {"edge_pendulum_angle_to_shadow_length", "edge_pendulum_angle_to_shadow_position"}
    assert set(literal) == wanted
    assert min(shipped.values()) > 0.35
    assert all(literal[edge] < 0.65 * shipped[edge] for edge in wanted)
