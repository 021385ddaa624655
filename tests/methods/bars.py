"""Shared by the tests of both CauF-VAEs: images of three bars, tiny networks, common checks.

Two bars are causes; the third is an effect, half of their sum.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cdis import data, methods
from cdis.config import load_config
from cdis.data.info import Info
from cdis.data.lookup import OWN
from cdis.methods.base import Context, Method, Stage
from cdis.training.state import State, by_path, split
from cdis.training.update import make_update
from tests.helpers import quick_jit

EXPERIMENTS = Path(__file__).parents[2] / "experiments" / "cauf_vae"
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
#: Facts of the bars if the second factor is binary.
BINARY: dict[str, Any] = {
    "factor_sizes": (0, 2, 0),
    "value_mean": (5.0, 0.5, 6.0),
    "value_std": (2.0, 0.5, 1.5),
}
B = 16
TINY = {
    "model.autoencoder.patch": 2,
    "model.autoencoder.width": 4,
    "model.autoencoder.hidden": 12,
    "model.autoencoder.rank": 2,
    "model.flow.hidden": 8,
    "model.prior_hidden": 4,
}


def bars(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images and values; the third bar is half as high as the other two together, plus noise."""
    rng = np.random.default_rng(seed)
    causes = rng.uniform(1.5, 8.5, (n, 2))
    effect = causes.mean(1, keepdims=True) + 1 + 0.1 * rng.normal(size=(n, 1))
    values = np.concatenate([causes, effect], 1).astype(np.float32)
    rows = np.arange(16)[None, :, None]
    lit = np.clip(values[:, None, :] - rows, 0, 1)  # antialiased heights, [n, 16, 3]
    images = np.repeat(np.pad(lit, ((0, 0), (0, 0), (0, 1))), 4, axis=2)[..., None]
    return np.round(255 * images).astype(np.uint8), values


IMAGES, VALUES = bars(64)


class Case(NamedTuple):
    config: Any
    method: Method
    variables: dict[str, Any]
    batch: dict[str, Any]


def make(
    experiment: str, overrides: Mapping[str, Any] | None = None, info: Info = INFO
) -> tuple[Any, Method]:
    """The config of an experiment with tiny networks, and its method on bars."""
    config = load_config(f"cauf_vae/{experiment}", TINY | dict(overrides or {}))
    return config, methods.module(config.method).make(config, info)


def case(experiment: str, overrides: Mapping[str, Any] | None = None) -> Case:
    """With fresh variables and a batch that has the columns of every stage."""
    config, method = make(experiment, overrides)
    batch = {"x": {"image": jnp.asarray(IMAGES[:B]), "values": jnp.asarray(VALUES[:B])}}
    variables = quick_jit(method.init)(jax.random.key(0), batch)
    for stage in method.stages:
        if stage.precompute is not None:
            batch["x"] |= quick_jit(stage.precompute)(variables, batch["x"]["image"])
    return Case(config, method, variables, batch)


def stage_of(method: Method, name: str) -> Stage:
    return next(stage for stage in method.stages if stage.name == name)


def trained_parts(case: Case, stage: Stage) -> set[str]:
    """The groups of parameters that a stage trains."""
    trained, _ = split(case.variables["params"], stage.objectives[0])
    return {path.split("/")[0] for path in trained}


def metrics_of(stage: Stage):
    """(variables, batch) to the metrics of the stage's loss, jitted."""
    loss = stage.objectives[0].loss
    context = Context(jax.random.key(0), jnp.int32(0), None)
    return quick_jit(lambda variables, batch: loss(variables, batch, context)[1].metrics)


def terms_of(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The terms of a loss, without the strengths of edges and what latents have learnt."""
    others = ("edge_", "explained_", "labelled", "spread")
    return {name: x for name, x in metrics.items() if not name.startswith(others)}


def edge_names(graph: Any) -> set[str]:
    names = INFO.factor_names
    return {f"edge_{names[j]}_to_{names[i]}" for i, j in np.argwhere(np.asarray(graph))}


def check_loss(case: Case, stage_name: str, graph: Any) -> tuple[Any, Any]:
    """A finite loss, whose trained parameters have gradients; its value and `Aux`.

    The metrics are the terms, and then the strength of each edge of `graph`.
    """
    stage = stage_of(case.method, stage_name)
    batch = {"x": {column: case.batch["x"][column] for column in stage.columns}}

    order: list[str] = []

    def run(params, key):
        context = Context(key, jnp.int32(0), None)
        loss = stage.objectives[0].loss
        value, aux = loss(case.variables | {"params": params}, batch, context)
        order.extend(aux.metrics)  # jit sorts the names of what it returns
        return value, aux

    (value, aux), slopes = quick_jit(jax.value_and_grad(run, has_aux=True))(
        case.variables["params"], jax.random.key(3)
    )
    assert np.isfinite(value) and all(np.shape(x) == () for x in aux.metrics.values())
    # Whatever a stage says it trains has a finite gradient, in some of its parameters not zero.
    slopes = by_path(slopes)
    assert all(np.isfinite(slope).all() for slope in slopes.values())
    for part in trained_parts(case, stage):
        assert any(np.any(x) for path, x in slopes.items() if path.startswith(f"{part}/")), part
    # Every edge of the graph, and no other, has its strength in the log, after the terms.
    edges = edge_names(graph)
    assert {name for name in aux.metrics if name.startswith("edge_")} == edges
    assert set(order[len(order) - len(edges) :]) == edges
    return value, aux


def check_abilities(case: Case, extra: int) -> None:
    """Shapes and ranges; interventions change an image only if they change a factor."""
    method, variables, images = case.method, case.variables, case.batch["x"]["image"]
    assert method.encode and method.decode and method.factors.do and method.elbo
    represented = quick_jit(method.encode)(variables, images)
    vectors = represented["vectors"]
    assert vectors.shape == (B, 3 + extra) and method.factors.num_labelled == 3
    decoded = quick_jit(method.decode)(variables, represented)
    assert decoded.shape == (B, *INFO.image_shape) and np.abs(decoded).max() <= 1

    # Setting a factor to what it is changes nothing; to something else, it does.
    do = quick_jit(method.factors.do)
    mean, std = np.array(INFO.value_mean), np.array(INFO.value_std)
    own = np.asarray(vectors)[:, :3] * std + mean
    for factor in range(3):
        fixed = np.arange(3) == factor
        same = do(variables, images, fixed, own.astype(np.float32))
        np.testing.assert_allclose(same, decoded, atol=1e-4)
        other = do(variables, images, fixed, own.astype(np.float32) + 3)
        assert np.abs(np.asarray(other) - np.asarray(decoded)).max() > 1e-4

    bound = quick_jit(method.elbo)(variables, images, case.batch["x"]["values"], jax.random.key(0))
    assert bound.shape == (B,) and np.isfinite(bound).all()


def _info(config: Any) -> Info:
    """Facts about the data of an experiment; bars for the one that leaves the data to the user."""
    return INFO if config.data.name == OWN else data.info(config.data.name)


def check_experiment(name: str) -> None:
    """Every stage that the config describes is one of the method's, smoke variant included."""
    for suffix in ("", ":smoke"):
        config = load_config(f"cauf_vae/{name}{suffix}")
        method = methods.module(config.method).make(config, _info(config))
        assert set(config.stages) == {stage.name for stage in method.stages}


def check_smoke(name: str) -> None:
    """The smoke variant trains two steps of each stage on random images."""
    config = load_config(f"cauf_vae/{name}:smoke")
    info = _info(config)
    method = methods.module(config.method).make(config, info)
    batch: dict[str, Any] = {"x": _random_columns(info)}
    variables = quick_jit(method.init)(jax.random.key(0), batch)
    for stage in method.stages:
        if stage.precompute is not None:
            batch["x"] |= quick_jit(stage.precompute)(variables, batch["x"]["image"])
        optimizer = optax.adam(1e-3)
        update = quick_jit(make_update(stage, (optimizer,), seed=0, start=0, axis_name=None))
        trained, _ = split(variables["params"], stage.objectives[0])
        state = State(variables, (optimizer.init(trained),), jnp.int32(0))
        given = {"x": {column: batch["x"][column] for column in stage.columns}}
        for _ in range(config.stages[stage.name].steps):
            state, metrics = update(state, given)
            assert all(np.isfinite(x) for x in jax.device_get(metrics).values())
        assert state.step == 2
        variables = state.variables


def _random_columns(info: Info) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    mean, std = np.array(info.value_mean), np.array(info.value_std)
    values = mean + std * rng.uniform(-1.5, 1.5, (8, info.num_factors))
    values = np.where(np.array(info.factor_sizes) == 2, values > mean, values)
    images = rng.integers(0, 256, (8, *info.image_shape), np.uint8)
    return {"image": images, "values": values.astype(np.float32)}
