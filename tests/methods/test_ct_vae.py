"""CT-VAE as published: what it promises to the loop and to evaluation, and that it learns."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import spots
from helpers import quick_jit

from cdis import data
from cdis.config import load_config
from cdis.data import examples
from cdis.data.generated import GeneratedBuilder
from cdis.errors import UserError
from cdis.methods import ct_vae
from cdis.methods.base import Context, Method
from cdis.networks.autoencoder import GridEncoder
from cdis.training.state import State, by_path, split
from cdis.training.update import make_update

EXPERIMENTS = Path(__file__).parents[2] / "experiments" / "ct_vae"
OF_JOINT = ("quickstart", "rooms3d_cpu", "sprites_small")
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
def test_autoencoder_loss_falls():
    _, method = _make("moving average")
    batch = {"x": {"image": jnp.asarray(spots.IMAGES)}}
    variables = quick_jit(method.init)(jax.random.key(0), batch)
    stage, optimizer = spots.stage(method, "autoencoder"), optax.adam(5e-3)
    update = make_update(stage, (optimizer,), seed=0, start=0, axis_name=None)
    trained, _ = split(variables["params"], stage.objectives[0])
    state = State(variables, (optimizer.init(trained),), jnp.int32(0))
    state, metrics = jax.jit(
        lambda state: jax.lax.scan(lambda s, _: update(s, batch), state, length=60)
    )(state)
    after, loss = state.variables, np.asarray(metrics["loss"])
    assert np.isfinite(loss).all() and loss[-5:].mean() < 0.7 * loss[:3].mean()
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


def test_an_unknown_kind_of_noise_is_refused():
    with pytest.raises(UserError, match="noise is 'extra', but must be one of off, exo, endo"):
        _make("published", {"model.transition.noise": "extra"})


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
