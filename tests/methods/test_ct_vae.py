"""CT-VAE as a method: what it promises to the loop and to evaluation, and that it learns.

Tiny networks on stand-in images: a square at each place of a 4 x 4 grid, which two factors name.
"""

import functools
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cdis import data
from cdis.config import load_config
from cdis.data import examples, transitions
from cdis.data.generated import GeneratedBuilder
from cdis.data.info import Info
from cdis.data.pipeline import batches
from cdis.data.sprites2d import GRIDS, grid_factors
from cdis.errors import UserError
from cdis.methods import ct_vae
from cdis.methods.base import Context, Method, Stage
from cdis.ops import retrieve
from cdis.train.state import State, by_path, split
from cdis.train.update import make_update

EXPERIMENTS = Path(__file__).parents[2] / "experiments" / "ct_vae"
INFO = Info(
    name="spots",
    factor_names=("column", "row"),
    factor_sizes=(4, 4),
    circular=(False, True),
    image_shape=(16, 16, 1),
    licence="none",
    citation="none",
    description="A square on a grid.",
)
B = 8

TINY = {
    "model.autoencoder.width": 4,
    "model.autoencoder.hidden": 16,
    "model.autoencoder.decoder_hidden": (16,),
    "model.codes.num_codes": 4,
    "model.autoencoder.decoder_rank": 4,
    "model.transition.edge_hidden": 4,
}
PUBLISHED = TINY | {"model.autoencoder.widths": (4, 6, 8), "model.transition.message_hidden": (3,)}
MOVING = PUBLISHED | {
    "model.codes.decay": 0.9,
    "model.codes.restart_below": 0.5,
    "model.codes.num_codebooks": 2,
}
SHIPPED = TINY | {"model.codes.num_codebooks": 3, "model.transition.embedding": 8}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "published": ("published.py", PUBLISHED),
    "moving average": ("published.py", MOVING),
    "shipped": ("quickstart.py", SHIPPED),
}

# These programs run a few times: what they cost is their compilation.
_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


class Case(NamedTuple):
    config: Any
    method: Method
    variables: dict[str, Any]
    batch: dict[str, Any]  # pairs: images and codes of both sides, and actions
    represented: dict[str, Any]  # the representation of batch["x"]["image"]


def _spots() -> tuple[np.ndarray, transitions.Transitions]:
    factors = np.stack(np.unravel_index(np.arange(16), (4, 4)), 1).astype(np.int32)
    images = np.zeros((16, 16, 16, 1), np.uint8)
    for image, (column, row) in zip(images, factors, strict=True):
        image[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 255
    return images, transitions.build(factors, INFO, np.arange(16))


IMAGES, PAIRS = _spots()


def _make(name: str, overrides: dict[str, Any] | None = None):
    file, values = VARIANTS[name]
    config = load_config(f"{EXPERIMENTS / file}:smoke", values | (overrides or {}))
    return config, ct_vae.make(config, INFO)


@functools.cache
def _case(name: str) -> Case:
    config, method = _make(name)
    rows = np.arange(0, len(PAIRS.action), len(PAIRS.action) // B)[:B]
    x, y = jnp.asarray(IMAGES[PAIRS.x[rows]]), jnp.asarray(IMAGES[PAIRS.y[rows]])
    batch = {"x": {"image": x}, "y": {"image": y}, "action": jnp.asarray(PAIRS.action[rows])}
    variables = _jit(method.init)(jax.random.key(0), {"x": {"image": x}})
    assert method.encode is not None and method.stages[-1].precompute is not None
    represented = _jit(method.encode)(variables, x)
    precompute = _jit(method.stages[-1].precompute)
    for side in ("x", "y"):
        batch[side] |= precompute(variables, batch[side]["image"])
    return Case(config, method, variables, batch, represented)


def _stage(method: Method, name: str) -> Stage:
    return next(stage for stage in method.stages if stage.name == name)


@functools.cache
def _differentiated(name: str, stage_name: str):
    """(variables, step) -> loss, its aux and gradient, on the columns that the stage asks for."""
    case = _case(name)
    stage = _stage(case.method, stage_name)
    sides = ("x", "y") if stage.rows is examples.PAIRS else ("x",)
    batch = {side: {column: case.batch[side][column] for column in stage.columns} for side in sides}
    if stage.rows is examples.PAIRS:
        batch["action"] = case.batch["action"]

    def run(variables, step):
        def loss(params):
            together = variables | {"params": params}
            return stage.objectives[0].loss(together, batch, Context(jax.random.key(3), step, None))

        (value, aux), slopes = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        return value, aux, by_path(slopes)

    return _jit(run)


def _trained(case: Case, stage_name: str) -> set[str]:
    return set(split(case.variables["params"], _stage(case.method, stage_name).objectives[0])[0])


@pytest.mark.parametrize("name", VARIANTS)
def test_stages(name):
    case = _case(name)
    stages = {stage.name: stage for stage in case.method.stages}
    assert list(stages) == list(case.config.stages)
    first_name = "joint" if name == "shipped" else "autoencoder"
    assert list(stages) == [first_name, "transition"]
    assert stages[first_name].rows.name == ("pairs" if name == "shipped" else "images")
    assert stages["transition"].rows is examples.PAIRS
    assert "codes" in stages["transition"].columns
    assert set(case.variables) == {"params"} | ({"codebook"} if name == "moving average" else set())
    first, last = _trained(case, first_name), _trained(case, "transition")
    assert ("codebook/vectors" in first) == (name != "moving average")
    assert any(path.startswith("encoder/") for path in first)
    assert any(path.startswith("transition/") for path in first) == (name == "shipped")
    # The last stage leaves alone what its codes were computed with.
    assert not any(path.startswith(("encoder/", "codebook/")) for path in last)
    assert any(path.startswith("transition/") for path in last)
    learned = case.config.model.retrieval.learned_temperature
    assert ("retrieval/log_temperature" in last) == learned


@pytest.mark.parametrize("name", VARIANTS)
def test_representation(name):
    case = _case(name)
    codes, vectors = case.represented["codes"], case.represented["vectors"]
    settings = case.config.model.codes
    places = 1 if name == "shipped" else 4  # three halvings of 16 x 16
    assert codes.shape == (B, settings.num_codebooks * places) and codes.dtype == jnp.int32
    assert vectors.shape == (B, settings.num_codebooks * places * settings.code_dim)
    assert vectors.dtype == jnp.float32
    assert (
        case.method.codes
        and case.method.codes.num_codes == settings.num_codes > codes.max()
        and codes.min() >= 0
    )
    np.testing.assert_array_equal(codes, case.batch["x"]["codes"])
    # Vectors are those of the codes, codebook by codebook.
    home = case.variables if name == "moving average" else case.variables["params"]
    books = np.asarray(home["codebook"]["vectors"])
    for b, n in np.ndindex(*codes.shape):
        expected = books[n // places, codes[b, n]]
        np.testing.assert_array_equal(
            vectors[b].reshape(codes.shape[1], settings.code_dim)[n], expected
        )


@pytest.mark.parametrize(
    "name", ["published", pytest.param("moving average", marks=pytest.mark.slow), "shipped"]
)
def test_what_a_trained_method_can_do(name):
    case = _case(name)
    method, variables, (x, y) = case.method, case.variables, (case.batch["x"], case.batch["y"])
    assert (
        method.decode
        and method.actions.retrieve
        and method.actions.intervene
        and method.actions.describe
    )
    drawn = _jit(method.decode)(variables, case.represented)
    assert drawn.shape == (B, *INFO.image_shape) and drawn.dtype == jnp.float32
    assert np.abs(drawn).max() <= 1

    retrieve = _jit(method.actions.retrieve)
    probabilities = retrieve(variables, x["image"], y["image"])
    assert probabilities.shape == (B, INFO.num_actions) and probabilities.dtype == jnp.float32
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(probabilities, retrieve(variables, x["image"], y["image"]))
    assert np.ptp(probabilities, axis=-1).min() > 0  # actions differ

    changed = _jit(method.actions.intervene)(variables, x["image"], case.batch["action"])
    assert changed.shape == drawn.shape and changed.dtype == jnp.float32
    assert np.abs(changed).max() <= 1

    seen = _jit(method.actions.describe)(variables, x["image"], case.batch["action"])
    n = case.represented["codes"].shape[1]
    assert {part: array.shape for part, array in seen.items()} == {
        "mask": (B, n),
        "edges": (B, n, n),
        "edges_no_action": (B, n, n),
    }
    assert set(np.unique(seen["mask"])) <= {0, 1}
    for edges in (seen["edges"], seen["edges_no_action"]):
        assert (np.asarray(edges) >= 0).all() and (np.asarray(edges) <= 1).all()
    spared = np.asarray(seen["mask"]) == 0
    np.testing.assert_allclose(
        np.asarray(seen["edges"])[spared], np.asarray(seen["edges_no_action"])[spared], rtol=1e-4
    )


@pytest.mark.parametrize("name", ["published", "moving average"])
def test_autoencoder_loss(name):
    case = _case(name)
    value, aux, slopes = _differentiated(name, "autoencoder")(case.variables, 0)
    assert value.shape == () and np.isfinite(value)
    assert all(metric.shape == () and np.isfinite(metric) for metric in aux.metrics.values())
    weights = case.config.model.weights
    terms = ("reconstruction", "codebook", "commitment", "usage", "doubt")
    expected = sum(weights[term] * aux.metrics[term] for term in terms)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    # The gradient passes through the quantiser, and does not reach the transition.
    assert all(np.isfinite(slope).all() for slope in slopes.values())
    assert any(np.any(v) for k, v in slopes.items() if k.startswith("encoder/"))
    assert not any(np.any(v) for k, v in slopes.items() if k.startswith("transition/"))
    assert jax.tree.structure(aux.variables) == jax.tree.structure(
        {"codebook": case.variables["codebook"]} if name == "moving average" else {}
    )


def test_dead_codes_restart():
    case = _case("moving average")
    run = _differentiated("moving average", "autoencoder")
    used = np.zeros(case.variables["codebook"]["counts"].shape)
    for c, codes in enumerate(np.split(np.asarray(case.batch["x"]["codes"]), 2, axis=1)):
        np.add.at(used[c], codes.ravel(), 1)
    for before, some_die in ((1.0, False), (0.1, True)):
        old = case.variables["codebook"] | {"counts": jnp.full(used.shape, before)}
        _, aux, _ = run(case.variables | {"codebook": old}, 0)
        new = aux.variables["codebook"]
        counts = 0.9 * before + 0.1 * used
        dead = counts < 0.5
        assert dead.any() == some_die
        # A code that begins anew counts as used once, and is the mean of what it was moved onto.
        np.testing.assert_allclose(new["counts"], np.where(dead, 1.0, counts), rtol=1e-5)
        np.testing.assert_array_equal(
            np.asarray(new["sums"])[dead], np.asarray(new["vectors"])[dead]
        )


@pytest.mark.slow
def test_published_modes_take_turns():
    case = _case("published")
    run = _differentiated("published", "transition")
    terms = {
        0: ("base", "identity"),
        1: ("action", "edge_prior", "graph_size", "orphans"),
        2: ("retrieval",),
    }
    weights = case.config.model.weights
    values = []
    for step in range(4):
        value, aux, slopes = run(case.variables, step)
        mine = terms[step % 3]
        for others in terms.values():
            for term in others:
                assert (aux.metrics[term] != 0) == (term in mine), (step, term)
        expected = sum(weights[term] * aux.metrics[term] for term in mine)
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        assert all(np.isfinite(slope).all() for slope in slopes.values())
        assert any(np.any(v) for k, v in slopes.items() if k.startswith("transition/"))
        assert aux.variables == {}
        values.append(value)
    # The same mode on the same batch with the same key.
    np.testing.assert_allclose(values[3], values[0], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["joint", "transition"])
def test_shipped_losses(stage):
    case = _case("shipped")
    weights, ramps = case.config.model.weights, case.config.model.ramps
    step = (ramps.sharing[0] + ramps.sharing[1]) // 2  # where the price of sharing is half of all
    value, aux, slopes = _differentiated("shipped", stage)(case.variables, step)
    assert np.isfinite(value)
    say = {"sharing": (step - ramps.sharing[0]) / (ramps.sharing[1] - ramps.sharing[0])}
    say["mask"] = np.clip((step - ramps.mask[0]) / (ramps.mask[1] - ramps.mask[0]), 0, 1)
    expected = sum(
        say.get(term, 1) * weights[term] * x for term, x in aux.metrics.items() if term in weights
    )
    assert ("sharing" in aux.metrics) == (stage == "joint")
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    assert all(np.isfinite(slope).all() for slope in slopes.values())
    # Whatever a stage says it trains has a gradient in some of its parameters.
    for part in {path.split("/")[0] for path in _trained(case, stage)}:
        assert any(np.any(v) for k, v in slopes.items() if k.startswith(f"{part}/")), part


# Several devices


def _halves(batch):
    return jax.tree.map(lambda x: x.reshape(2, B // 2, *x.shape[1:]), batch)


def test_two_devices_equal_one():
    # Without restarts, whose draws are each device's own, nothing depends on how a batch is cut.
    # Assignments are sharp and usage weighs much, so that each half's own usage would show.
    overrides = {
        "model.codes.restart_below": 0.0,
        "model.codes.assignment_temperature": 0.02,
        "model.weights.usage": 10.0,
    }
    _, method = _make("moving average", overrides)
    case = _case("moving average")
    stage = method.stages[0]
    batch = {"x": {"image": case.batch["x"]["image"]}}

    def run(axis_name):
        def one(batch):
            def loss(params):
                variables = case.variables | {"params": params}
                return stage.objectives[0].loss(
                    variables, batch, Context(jax.random.key(3), jnp.int32(0), axis_name)
                )

            (value, aux), slopes = jax.value_and_grad(loss, has_aux=True)(case.variables["params"])
            if axis_name:
                value, slopes = jax.lax.pmean((value, slopes), axis_name)
            return value, aux.variables, aux.metrics["codes_used"], slopes

        return one

    alone = _jit(run(None))(batch)
    shared = _jit(jax.vmap(run("data"), axis_name="data"))(_halves(batch))
    for (path, a), s in zip(jax.tree.leaves_with_path(alone), jax.tree.leaves(shared), strict=True):
        for device in range(2):
            np.testing.assert_allclose(
                s[device], a, rtol=1e-3, atol=1e-5, err_msg=jax.tree_util.keystr(path)
            )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "stage_name"), [("moving average", "autoencoder"), ("shipped", "joint")]
)
def test_an_update_is_alike_on_all_devices(name, stage_name):
    case = _case(name)
    stage = _stage(case.method, stage_name)
    optimizer = optax.adam(1e-3)
    update = make_update(stage, (optimizer,), seed=0, start=0, axis_name="data")
    trained, _ = split(case.variables["params"], stage.objectives[0])
    state = State(case.variables, (optimizer.init(trained),), jnp.int32(0))
    run = jax.vmap(update, in_axes=(None, 0), axis_name="data")
    state, metrics = _jit(run)(state, _halves(case.batch))
    for leaf in jax.tree.leaves((state, metrics)):
        assert np.isfinite(leaf).all()
        np.testing.assert_array_equal(leaf[0], leaf[1])


# Learning


def _train(stage: Stage, variables, batch, *, steps: int, rate: float):
    """Variables after `steps` on one batch, and the metrics of every step."""
    optimizer = optax.adam(rate)
    update = make_update(stage, (optimizer,), seed=0, start=0, axis_name=None)
    trained, _ = split(variables["params"], stage.objectives[0])
    state = State(variables, (optimizer.init(trained),), jnp.int32(0))
    state, metrics = jax.jit(
        lambda state: jax.lax.scan(lambda s, _: update(s, batch), state, length=steps)
    )(state)
    return state.variables, metrics


def _all_pairs(**columns):
    return {
        "x": {name: jnp.asarray(column[PAIRS.x]) for name, column in columns.items()},
        "y": {name: jnp.asarray(column[PAIRS.y]) for name, column in columns.items()},
        "action": jnp.asarray(PAIRS.action),
    }


@pytest.mark.slow
def test_on_ideal_codes_an_action_hits_the_node_of_its_factor_and_no_other():
    # The grid of coloured sprites, one node for each factor, whose code is the factor's value.
    info = data.info("sprites2d/coloured")
    overrides = {
        "model.codes.num_codebooks": info.num_factors,
        "model.weights.image": 0.0,
        "model.transition.mask_start": 1.0,
        "model.ramps.mask": (200, 500),
    }
    config = load_config(f"{EXPERIMENTS / 'quickstart.py'}", overrides)
    method = ct_vae.make(config, info)
    variables = jax.jit(method.init)(
        jax.random.key(0), {"x": {"image": jnp.zeros((2, *info.image_shape), jnp.uint8)}}
    )
    stage = _stage(method, "transition")
    steps = 1000
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, steps))
    trained, _ = split(variables["params"], stage.objectives[0])
    state = State(variables, (optimizer.init(trained),), jnp.int32(0))
    update = jax.jit(make_update(stage, (optimizer,), seed=0, start=0, axis_name=None))
    codes = grid_factors(GRIDS["coloured"], np.arange(math.prod(info.factor_sizes)))
    order = np.random.default_rng(0).permutation(len(codes))
    train, test = (np.sort(part) for part in np.split(order, [int(0.7 * len(codes))]))
    rows = transitions.build(codes, info, train)
    for batch in batches(
        {"codes": codes}, examples.of_transitions(rows), batch_size=64, seed=0, num_batches=steps
    ):
        state, _ = update(state, batch)

    layer = ct_vae.transition_layer(config.model, info, info.num_factors)
    one_hot = jax.nn.one_hot(codes, config.model.codes.num_codes)
    seen = jax.jit(lambda p, o: layer.apply({"params": p}, o, "all"))(
        state.variables["params"]["transition"], one_hot[test]
    )
    held_out = transitions.build(codes, info, test)
    row = np.searchsorted(test, held_out.x)
    distances = retrieve.code_distances(seen.logits[row], one_hot[held_out.y], over_nodes="sum")
    np.testing.assert_array_equal(distances.argmin(-1), held_out.action)
    mask = np.asarray(seen.mask)[row, held_out.action]
    np.testing.assert_array_equal(
        mask, np.eye(info.num_factors)[held_out.action % info.num_factors]
    )

    before, after = by_path(variables), by_path(state.variables)
    frozen = [path for path in before if path.removeprefix("params/") not in by_path(trained)]
    assert any(path.startswith("params/encoder/") for path in frozen)
    for path in frozen:
        np.testing.assert_array_equal(before[path], after[path], err_msg=path)


@pytest.mark.slow
def test_autoencoder_loss_falls():
    _, method = _make("moving average")
    variables = _jit(method.init)(jax.random.key(0), {"x": {"image": jnp.asarray(IMAGES)}})
    batch = {"x": {"image": jnp.asarray(IMAGES)}}
    after, metrics = _train(_stage(method, "autoencoder"), variables, batch, steps=60, rate=5e-3)
    loss = np.asarray(metrics["loss"])
    assert np.isfinite(loss).all() and loss[-5:].mean() < 0.7 * loss[:3].mean()
    assert not np.array_equal(after["codebook"]["vectors"], variables["codebook"]["vectors"])
    np.testing.assert_array_equal(
        by_path(after)["params/transition/mask_bias"],
        by_path(variables)["params/transition/mask_bias"],
    )


# Switches


@pytest.mark.parametrize(
    ("name", "variant"),
    [(path.stem, v) for path in sorted(EXPERIMENTS.glob("*.py")) for v in ("", ":smoke")]
    + [("quickstart", ":oriented")],
)
def test_experiments_are_whole(name, variant):
    """At full size, but for the data, of which only the facts are needed."""
    config = load_config(f"{EXPERIMENTS / name}.py{variant}")
    assert config.method == "cdis.methods.ct_vae"
    info = data.info(config.data.name)
    if variant == ":smoke":
        assert issubclass(data.find(config.data.name)[0], GeneratedBuilder), "needs no download"
    method = ct_vae.make(config, info)
    assert set(config.stages) == {stage.name for stage in method.stages}
    images = jnp.zeros((2, *info.image_shape), jnp.uint8)
    shapes = jax.eval_shape(method.init, jax.random.key(0), {"x": {"image": images}})
    assert set(shapes["params"]) >= {"encoder", "decoder", "transition", "retrieval"}


@pytest.mark.parametrize(
    ("name", "images", "batch"),
    [("shapes3d", 336_000, 64), ("cars3d", 12_298, 64), ("celeba", 162_770, 64)],
)
def test_published_length(name, images, batch):
    """20 epochs, and 100 of 16,000 pairs."""
    stages = load_config(f"{EXPERIMENTS / name}.py").stages
    assert stages.autoencoder.batch_size == batch
    assert stages.autoencoder.steps == round(20 * images / batch)
    assert stages.transition.steps * stages.transition.batch_size == 100 * 16_000


def test_images_that_the_grid_cannot_halve_raise():
    with pytest.raises(UserError, match="divisible by 64"):
        _make("published", {"model.autoencoder.widths": (4, 4, 4, 4, 4, 4)})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("mask", "tabel", "must be one of table, additive"), ("noise", "exo", "deterministic gates")],
)
def test_switches_that_make_no_sense_are_refused(name, value, message):
    with pytest.raises(UserError, match=message):
        _make("shipped", {f"model.transition.{name}": value})
