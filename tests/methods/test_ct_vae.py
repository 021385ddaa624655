"""CT-VAE as published: what it promises to the loop and to evaluation, and that it learns."""

import dataclasses
import functools
import itertools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import spots
from helpers import quick_jit
from ml_collections import ConfigDict

from cdis import data
from cdis.config import load_config
from cdis.data import examples
from cdis.data.generated import GeneratedBuilder
from cdis.errors import UserError
from cdis.methods import ct_vae
from cdis.methods.base import Context, Method
from cdis.networks.autoencoder import GridEncoder
from cdis.ops import quantize
from cdis.training.state import State, by_path, split
from cdis.training.update import make_update

EXPERIMENTS = Path(__file__).parents[2] / "experiments" / "ct_vae"
OF_JOINT = ("quickstart", "rooms3d_cpu", "sprites_small", "ablation")
PUBLISHED = sorted(path.stem for path in EXPERIMENTS.glob("*.py") if path.stem not in OF_JOINT)
B = 8

TINY: dict[str, Any] = {
    "model.autoencoder.widths": (4, 6, 8),
    "model.codes.num_codes": 4,
    "model.transition.edge_hidden": 4,
    "model.transition.message_hidden": (3,),
}
MOVING = TINY | {
    "model.codes.decay": 0.9,
    "model.codes.restart_below": 0.5,
    "model.codes.num_codebooks": 2,
}
VARIANTS = {"published": TINY, "moving average": MOVING}


class Case(NamedTuple):
    config: Any
    method: Method
    variables: dict[str, Any]
    batch: dict[str, Any]  # pairs: images and codes of both sides, and actions
    represented: dict[str, Any]  # the representation of batch["x"]["image"]


def _make(name: str, overrides: dict[str, Any] | None = None):
    config = load_config("ct_vae/published:smoke", VARIANTS[name] | (overrides or {}))
    return config, ct_vae.make(config, spots.INFO)


@functools.cache
def _case(name: str) -> Case:
    config, method = _make(name)
    count = len(spots.PAIRS.action)
    batch = spots.pairs(np.arange(0, count, count // B)[:B])
    variables = quick_jit(method.init)(jax.random.key(0), batch)
    assert method.encode is not None and method.stages[-1].precompute is not None
    represented = quick_jit(method.encode)(variables, batch["x"]["image"])
    precompute = quick_jit(method.stages[-1].precompute)
    for side in ("x", "y"):
        batch[side] |= precompute(variables, batch[side]["image"])
    return Case(config, method, variables, batch, represented)


def _model(method: Method) -> ct_vae.Model:
    """What the method's functions know."""
    # A partial, of which the types of methods say nothing.
    return getattr(method.encode, "args")[0]  # noqa: B009


@functools.cache
def _differentiated(name: str, stage_name: str):
    case = _case(name)
    return quick_jit(spots.differentiated(spots.stage(case.method, stage_name), case.batch))


@pytest.mark.parametrize("name", VARIANTS)
def test_stages(name):
    case = _case(name)
    stages = {stage.name: stage for stage in case.method.stages}
    assert list(stages) == list(case.config.stages) == ["autoencoder", "transition"]
    assert stages["autoencoder"].rows is examples.IMAGES
    assert stages["transition"].rows is examples.PAIRS
    assert stages["transition"].columns == ("codes",)
    moving = name == "moving average"
    assert set(case.variables) == {"params"} | ({"codebook"} if moving else set())
    parts = [
        {path.split("/")[0] for path in spots.trained(stage, case.variables)}
        for stage in case.method.stages
    ]
    assert parts == [
        {"encoder", "decoder"} | (set() if moving else {"codebook"}),
        {"transition"},
    ]


@pytest.mark.parametrize("name", VARIANTS)
def test_representation(name):
    case = _case(name)
    np.testing.assert_array_equal(case.represented["codes"], case.batch["x"]["codes"])
    home = case.variables if name == "moving average" else case.variables["params"]
    books = np.asarray(home["codebook"]["vectors"])
    settings = case.config.model.codes
    assert books.shape == (settings.num_codebooks, settings.num_codes, settings.code_dim)
    # Three halvings of 16 x 16 leave 2 x 2 places.
    spots.assert_represents(case.method, case.represented, books, places=4)


@pytest.mark.parametrize(
    "name", ["published", pytest.param("moving average", marks=pytest.mark.slow)]
)
def test_what_a_trained_method_can_do(name):
    case = _case(name)
    home = case.variables if name == "moving average" else case.variables["params"]
    books = np.asarray(home["codebook"]["vectors"])
    spots.assert_can_retrieve_and_intervene(
        case.method, case.variables, case.batch, case.represented, books, ct_vae.predict, quick_jit
    )


@pytest.mark.parametrize("name", VARIANTS)
def test_autoencoder_loss(name):
    case = _case(name)
    value, aux, slopes = _differentiated(name, "autoencoder")(case.variables, 0)
    assert value.shape == () and np.isfinite(value)
    assert all(metric.shape == () and np.isfinite(metric) for metric in aux.metrics.values())
    weights = case.config.model.weights
    terms = ("reconstruction", "codebook", "commitment")
    expected = sum(weights[term] * aux.metrics[term] for term in terms)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    # Pixels in [0, 1], and for each codebook the mean over its vectors' elements.
    model = _model(case.method)
    images, codes = case.batch["x"]["image"], case.represented["codes"].reshape(B, -1, 4)
    seen = ct_vae.to_network(model, images)
    np.testing.assert_allclose(seen, np.asarray(images) / 255, atol=1e-6)
    h = ct_vae.latents(model, case.variables, seen)
    chosen = quantize.lookup(codes, ct_vae.codebooks(model, case.variables))
    drawn = ct_vae.reconstruct(model, case.variables, chosen)
    distances = np.sum(np.mean((h - chosen) ** 2, axis=(0, 2, 3)))
    found = [float(aux.metrics[term]) for term in terms]
    expected = [float(np.mean((drawn - seen) ** 2)), distances, distances]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
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
        # A restarted code counts as used once, and is the mean of the output it was moved onto.
        np.testing.assert_allclose(new["counts"], np.where(dead, 1.0, counts), rtol=1e-5)
        np.testing.assert_array_equal(
            np.asarray(new["sums"])[dead], np.asarray(new["vectors"])[dead]
        )


TERMS = (("base", "identity"), ("action", "edge_prior", "graph_size", "orphans"), ("retrieval",))


def _transition_value(case: Case, metrics, mine) -> float:
    return sum(case.config.model.weights[term] * metrics[term] for term in mine) / 3


@pytest.mark.slow
def test_published_modes_take_turns():
    case = _case("published")
    run = _differentiated("published", "transition")
    values = []
    for step in range(4):
        value, aux, slopes = run(case.variables, step)
        mine = TERMS[step % 3]
        for term in (term for others in TERMS for term in others):
            assert (aux.metrics[term] != 0) == (term in mine), (step, term)
        np.testing.assert_allclose(value, _transition_value(case, aux.metrics, mine), rtol=1e-5)
        assert all(np.isfinite(slope).all() for slope in slopes.values())
        assert any(np.any(v) for k, v in slopes.items() if k.startswith("transition/"))
        assert aux.variables == {}
        values.append(value)
    # The same mode on the same batch with the same key.
    np.testing.assert_allclose(values[3], values[0], rtol=1e-6)


def test_the_published_transition_step_stays_small():
    # On 16 nodes. Compilation takes the longer, the more operations and loops there are.
    info = dataclasses.replace(spots.INFO, image_shape=(32, 32, 1))
    method = ct_vae.make(ct_vae.defaults(), info)
    stage = spots.stage(method, "transition")
    images = {"x": {"image": jnp.zeros((16, *info.image_shape), jnp.uint8)}}
    variables = jax.eval_shape(method.init, jax.random.key(0), images)
    codes, number = (jax.ShapeDtypeStruct(shape, jnp.int32) for shape in ((16, 16), ()))
    action = jax.ShapeDtypeStruct((16,), jnp.int32)
    batch = {"x": {"codes": codes}, "y": {"codes": codes}, "action": action}
    optimizer = optax.adam(1e-3)
    moments = jax.eval_shape(optimizer.init, split(variables["params"], stage.objectives[0])[0])
    update = make_update(stage, (optimizer,), seed=0, start=0, axis_name=None)
    program = jax.jit(update).lower(State(variables, (moments,), number), batch).as_text()
    assert program.count(" = ") < 18_500
    assert program.count("stablehlo.while") < 27


def test_validation_has_all_modes_and_no_dropout():
    case = _case("published")
    loss = spots.stage(case.method, "transition").objectives[0].loss
    batch = {side: {"codes": case.batch[side]["codes"]} for side in ("x", "y")}
    batch["action"] = case.batch["action"]
    context = Context(jax.random.key(3), jnp.int32(0), None, training=False)
    value, aux = quick_jit(lambda v: loss(v, batch, context))(case.variables)
    every = [term for mine in TERMS for term in mine]
    assert all(aux.metrics[term] > 0 for term in every)
    np.testing.assert_allclose(value, _transition_value(case, aux.metrics, every), rtol=1e-5)
    # What evaluation does with the same gates: its answers are the metric's.
    model = _model(case.method)
    x, y = (jax.nn.one_hot(batch[side]["codes"], 4) for side in ("x", "y"))
    seen = quick_jit(lambda v, x: ct_vae.predict(model, v, x, "all", context.key))
    log_p = ct_vae.log_probabilities(model, seen(case.variables, x).logits, y)
    np.testing.assert_allclose(
        aux.metrics["retrieval_accuracy"], np.mean(log_p.argmax(-1) == batch["action"])
    )


def test_modes_in_random_order():
    model = _model(_case("published").method)
    random = model._replace(config=ConfigDict({"modes": "random"}))
    modes = np.asarray(jax.vmap(lambda step: ct_vae.mode_of(random, step, 3))(jnp.arange(900)))
    counts = np.bincount(modes)
    assert len(counts) == 3 and (np.abs(counts - 300) < 5 * (900 * 2 / 9) ** 0.5).all()
    # The next mode does not depend on the last one.
    assert len(set(itertools.pairwise(modes.tolist()))) == 9


def test_probabilities_have_a_floor():
    model = _model(_case("published").method)
    p = np.array([0.9, 0.09999, 0.00001, 0.0], np.float32)
    log_p = ct_vae.floored(model, jnp.log(p))
    np.testing.assert_allclose(np.exp(log_p), [0.9, 0.09999, 1e-4, 1e-4], rtol=1e-4)
    # So have those of actions: only the first of four predicts the codes of y.
    target = jax.nn.one_hot(jnp.array([[1, 1]]), 4)
    logits = jnp.zeros((1, 4, 2, 4)).at[0, 0, :, 1].set(40.0).at[0, 1:, :, 0].set(40.0)
    found = np.exp(ct_vae.log_probabilities(model, logits, target))[0]
    np.testing.assert_allclose(found, np.array([1, 1e-4, 1e-4, 1e-4]) / 1.0003, rtol=1e-4)


def test_images_are_converted_at_the_border():
    model = _model(_case("published").method)
    drawn = jnp.array([-0.5, 0.0, 0.25, 1.0])
    stored = jnp.array([0, 255], jnp.uint8)
    for images, seen, shown in (
        ("unit", [0, 1], [-1, -1, -0.5, 1]),
        ("symmetric", [-1, 1], drawn),
    ):
        config = ConfigDict({"images": images})
        other = model._replace(config=config)
        np.testing.assert_allclose(ct_vae.to_network(other, stored), seen)
        np.testing.assert_allclose(ct_vae.from_network(other, drawn), shown)


@pytest.mark.parametrize(("start", "bound"), [("uniform", 1 / 4), ("normal", None)])
def test_the_start_of_code_vectors(start, bound):
    _, method = _make("published", {"model.codes.start": start, "model.codes.initial_scale": 2.0})
    batch = {"x": {"image": jnp.zeros((1, 16, 16, 1), jnp.uint8)}}
    vectors = quick_jit(lambda key: method.init(key, batch)["params"]["codebook"]["vectors"])
    found = np.abs(vectors(jax.random.key(0)))
    if bound:
        assert 0.8 * bound < found.max() <= bound
    else:
        assert 1 < found.mean() < 2.2  # sqrt(2 / pi) times 2 is 1.6


# A stage whose codes are all the same


def test_a_run_with_one_code_says_why():
    """Constructed: of four code vectors, three are far from all that the encoder puts out."""
    case = _case("published")
    overrides = {"model.images": "symmetric", "model.codes.start": "normal"}
    stage = spots.stage(_make("published", overrides)[1], "autoencoder")
    assert stage.diagnose is not None and case.method.stages[0].diagnose is not None
    run = _differentiated("published", "autoencoder")

    def used(vectors):
        params = case.variables["params"] | {"codebook": {"vectors": vectors}}
        return run({"params": params}, 0)[1].metrics

    model = _model(case.method)
    seen = ct_vae.to_network(model, case.batch["x"]["image"])
    h = np.asarray(ct_vae.latents(model, case.variables, seen)).reshape(-1, 8)
    far = jnp.asarray(np.stack([h[0], h[0] + 9, h[0] - 9, h[0] + 8])[None])
    found = stage.diagnose(used(far))
    assert found and found.dead and found.what.startswith("only 1 of 4 codes is in use")
    assert "tanh saturates" in found.cause and "code vectors start so long" in found.cause
    assert found.remedy == "set config.model.images=unit and config.model.codes.start=uniform"
    published = case.method.stages[0].diagnose(used(far))
    assert published and "tanh" not in published.cause and "restart" in published.remedy
    apart = h[np.argsort(h[:, 0])[:: len(h) // 3][:4]]
    assert stage.diagnose(used(jnp.asarray(apart[None]))) is None


# Several devices


def test_two_devices_equal_one():
    # Without restarts, which sample with each device's own key, nothing depends on how a batch is
    # cut.
    _, method = _make("moving average", {"model.codes.restart_below": 0.0})
    case = _case("moving average")
    batch = {"x": {"image": case.batch["x"]["image"]}}

    def run(axis_name):
        def one(batch):
            def loss(params):
                variables = case.variables | {"params": params}
                context = Context(jax.random.key(3), jnp.int32(0), axis_name)
                return method.stages[0].objectives[0].loss(variables, batch, context)

            (value, aux), slopes = jax.value_and_grad(loss, has_aux=True)(case.variables["params"])
            if axis_name:
                value, slopes = jax.lax.pmean((value, slopes), axis_name)
            return value, aux.variables, aux.metrics["codes_used"], slopes

        return one

    alone = quick_jit(run(None))(batch)
    shared = quick_jit(jax.vmap(run("data"), axis_name="data"))(spots.halves(batch))
    for (path, a), s in zip(jax.tree.leaves_with_path(alone), jax.tree.leaves(shared), strict=True):
        for device in range(2):
            np.testing.assert_allclose(
                s[device], a, rtol=1e-3, atol=1e-5, err_msg=jax.tree_util.keystr(path)
            )


@pytest.mark.slow
def test_an_update_is_alike_on_all_devices():
    case = _case("moving average")
    stage = spots.stage(case.method, "autoencoder")
    spots.assert_update_is_alike_on_all_devices(stage, case.variables, case.batch, quick_jit)


# Learning


@pytest.mark.slow
def test_an_autoencoder_learns_to_draw():
    """Wider than the other tests' networks, which small initial weights keep at the mean image."""
    wide = {"model.autoencoder.widths": (32, 32, 32), "model.codes.code_dim": 32}
    _, method = _make("moving average", wide | {"model.codes.num_codes": 16})
    batch = {"x": {"image": jnp.asarray(spots.IMAGES)}}
    variables = quick_jit(method.init)(jax.random.key(0), batch)
    stage, optimizer = spots.stage(method, "autoencoder"), optax.adam(3e-3)
    update = make_update(stage, (optimizer,), seed=0, start=0, axis_name=None)
    trained, _ = split(variables["params"], stage.objectives[0])
    state = State(variables, (optimizer.init(trained),), jnp.int32(0))
    state, metrics = jax.jit(
        lambda state: jax.lax.scan(lambda s, _: update(s, batch), state, length=200)
    )(state)
    after, error = state.variables, np.asarray(metrics["reconstruction"])
    of_mean_image = np.var(spots.IMAGES / 255.0)
    assert error[0] > of_mean_image and error[-1] < of_mean_image / 3
    assert not np.array_equal(after["codebook"]["vectors"], variables["codebook"]["vectors"])
    np.testing.assert_array_equal(
        by_path(after)["params/transition/mask_bias"],
        by_path(variables)["params/transition/mask_bias"],
    )


# Experiments, switches and networks


@pytest.mark.parametrize("name", [f"{n}{variant}" for n in PUBLISHED for variant in ("", ":smoke")])
def test_experiments_are_whole(name):
    """At full size, but for the data, of which only the facts are needed."""
    config = load_config(f"ct_vae/{name}")
    assert config.method == "cdis.methods.ct_vae"
    info = data.info(config.data.name)
    if name.endswith(":smoke"):
        assert issubclass(data.find(config.data.name)[0], GeneratedBuilder), "needs no download"
    method = ct_vae.make(config, info)
    assert set(config.stages) == {stage.name for stage in method.stages}
    images = jnp.zeros((2, *info.image_shape), jnp.uint8)
    shapes = jax.eval_shape(method.init, jax.random.key(0), {"x": {"image": images}})
    assert set(shapes["params"]) == {"encoder", "decoder", "transition", "codebook"}


@pytest.mark.parametrize(
    ("name", "images", "batch"),
    [("shapes3d", 336_000, 64), ("cars3d", 12_298, 64), ("celeba", 162_770, 64)],
)
def test_published_length(name, images, batch):
    """20 epochs, and 100 of 16,000 pairs."""
    stages = load_config(f"ct_vae/{name}").stages
    assert stages.autoencoder.batch_size == batch
    assert stages.autoencoder.steps == round(20 * images / batch)
    assert stages.transition.steps * stages.transition.batch_size == 100 * 16_000


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"transition.noise": "extra"}, "noise is 'extra', but must be one of off, exo, endo"),
        ({"images": "uint8"}, "images is 'uint8', but must be one of unit, symmetric"),
        (
            {"transition.noise": "exo", "gates": "deterministic"},
            "deterministic gates exclude noise",
        ),
        (
            {"transition.position_dropout": 1.0},
            "dropout is 1, but must be at least 0 and less than",
        ),
        ({"floor": -0.1}, "model.floor is -0.1, but must be at least 0"),
    ],
)
def test_values_that_are_refused(overrides, message):
    with pytest.raises(UserError, match=message):
        _make("published", {f"model.{name}": value for name, value in overrides.items()})


def test_networks_can_be_swapped():
    def networks(config, info):
        ours = ct_vae.networks(config, info)
        return ours._replace(encoder=GridEncoder((5, 5, 5), 0, config.model.codes.code_dim))

    config, _ = _make("published")
    method = ct_vae.make(config, spots.INFO, networks=networks)
    batch = _case("published").batch
    variables = jax.eval_shape(method.init, jax.random.key(0), batch)
    encoder = by_path(variables["params"]["encoder"])
    assert encoder["Conv_0/kernel"].shape == (4, 4, 1, 5)
    assert not any("ResidualBlock" in path for path in encoder)
    assert method.encode is not None
    codes = jax.eval_shape(method.encode, variables, batch["x"]["image"])["codes"]
    assert codes.shape == (B, 4)
