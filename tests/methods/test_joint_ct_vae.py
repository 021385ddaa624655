"""Joint CT-VAE: what it promises to the loop and to evaluation, and that it learns."""

import functools
import math
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import spots
from helpers import quick_jit

from cdis import data, methods
from cdis.config import load_config
from cdis.data import examples, transitions
from cdis.data.pipeline import batches
from cdis.data.sprites2d import GRIDS, grid_factors
from cdis.errors import UserError
from cdis.methods import joint_ct_vae
from cdis.methods.base import Context, Method
from cdis.networks.causal_transition import DenseTransition
from cdis.ops import retrieve
from cdis.training.state import State, by_path, split
from cdis.training.update import make_update

B = 8
TINY: dict[str, Any] = {
    "model.autoencoder.width": 4,
    "model.autoencoder.hidden": 16,
    "model.autoencoder.decoder_hidden": (16,),
    "model.autoencoder.decoder_rank": 4,
    "model.codes.num_codebooks": 3,
    "model.codes.num_codes": 4,
    "model.transition.edge_hidden": 4,
    "model.transition.embedding": 8,
}


def _make(overrides: dict[str, Any] | None = None) -> tuple[Any, Method]:
    config = load_config("ct_vae/quickstart", TINY | (overrides or {}))
    config = joint_ct_vae.fit(config, spots.INFO)
    return config, joint_ct_vae.make(config, spots.INFO)


@functools.cache
def _case() -> tuple[Any, Method, dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Config, method, fresh variables, a batch of pairs with their codes, and x represented."""
    config, method = _make()
    count = len(spots.PAIRS.action)
    batch = spots.pairs(np.arange(0, count, count // B)[:B])
    variables = quick_jit(method.init)(jax.random.key(0), batch)
    assert method.encode is not None and method.stages[-1].precompute is not None
    represented = quick_jit(method.encode)(variables, batch["x"]["image"])
    precompute = quick_jit(method.stages[-1].precompute)
    for side in ("x", "y"):
        batch[side] |= precompute(variables, batch[side]["image"])
    return config, method, variables, batch, represented


def test_stages():
    config, method, variables, *_ = _case()
    stages = {stage.name: stage for stage in method.stages}
    assert list(stages) == list(config.stages) == ["joint", "transition"]
    assert all(stage.rows is examples.PAIRS for stage in method.stages)
    assert stages["joint"].columns == ("image",)
    assert stages["transition"].columns == ("codes", "image")
    assert set(variables) == {"params", "seen"}
    first, last = (spots.trained(stage, variables) for stage in method.stages)
    assert {path.split("/")[0] for path in first} == {
        "encoder",
        "decoder",
        "codebook",
        "transition",
    }
    # The last stage leaves alone what its codes were computed with.
    assert {path.split("/")[0] for path in last} == {"decoder", "transition"}
    # Without the image term it sees no images, and the decoder stays; a temperature may be learned.
    overrides = {"model.weights.image": 0.0, "model.retrieval.learned_temperature": True}
    last = spots.stage(_make(overrides)[1], "transition")
    assert last.columns == ("codes",)
    parts = {path.split("/")[0] for path in spots.trained(last, variables)}
    assert parts == {"transition", "retrieval"}


def test_representation():
    _, method, variables, batch, represented = _case()
    np.testing.assert_array_equal(represented["codes"], batch["x"]["codes"])
    books = np.asarray(variables["params"]["codebook"]["vectors"])
    assert books.shape == (3, 4, 2)
    spots.assert_represents(method, represented, books, places=1)


def test_what_a_trained_method_can_do():
    _, method, variables, batch, represented = _case()
    books = np.asarray(variables["params"]["codebook"]["vectors"])
    spots.assert_can_retrieve_and_intervene(
        method, variables, batch, represented, books, joint_ct_vae.predict, quick_jit
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["joint", "transition"])
def test_losses(name):
    config, method, variables, batch, _ = _case()
    stage = spots.stage(method, name)
    weights, ramps = config.model.weights, config.model.ramps
    run = quick_jit(spots.differentiated(stage, batch))
    for middle in (ramps.sharing, ramps.doubt):  # where these weights are halfway up
        step = sum(middle) // 2
        value, aux, slopes = run(variables, step)
        assert np.isfinite(value)
        factors = {
            term: np.clip((step - ramps[term][0]) / (ramps[term][1] - ramps[term][0]), 0, 1)
            for term in ("sharing", "consistency", "doubt", "mask")
        }
        expected = sum(
            factors.get(term, 1) * weights[term] * x
            for term, x in aux.metrics.items()
            if term in weights
        )
        np.testing.assert_allclose(value, expected, rtol=1e-4)
        assert {"sharing", "consistency"} <= set(aux.metrics) or name == "transition"
        assert all(np.isfinite(slope).all() for slope in slopes.values())
        # Every part that a stage trains has a gradient in some of its parameters.
        for part in {path.split("/")[0] for path in spots.trained(stage, variables)}:
            assert any(np.any(v) for k, v in slopes.items() if k.startswith(f"{part}/")), part


def test_consistency_equals_its_literal_twin():
    """One image and one node at a time; it trains the encoder and nothing else."""
    config, *_, variables, _, represented = _case()
    networks = joint_ct_vae.networks(config, spots.INFO)
    model = joint_ct_vae.Model(config.model, spots.INFO, networks, None)
    key, codes = jax.random.key(7), np.asarray(represented["codes"])
    one_hot = jax.nn.one_hot(codes, config.model.codes.num_codes)

    def loss(variables):
        return joint_ct_vae.consistency_term(model, variables, one_hot, key)

    value, slopes = quick_jit(jax.value_and_grad(loss))(variables)
    books = np.asarray(variables["params"]["codebook"]["vectors"])
    shifts = np.asarray(jax.random.randint(key, codes.shape[1:], 0, len(codes)))
    assert len(set(shifts)) > 1
    images_of = quick_jit(
        lambda v: 2 * jax.nn.sigmoid(joint_ct_vae.pixel_logits(model, variables, v)) - 1
    )
    latents_of = quick_jit(lambda images: joint_ct_vae.latents(model, variables, images))
    mixed = np.array(
        [[codes[b - shifts[n], n] for n in range(codes.shape[1])] for b in range(len(codes))]
    )
    vectors = np.array([[books[n, k] for n, k in enumerate(row)] for row in mixed])
    h = np.asarray(latents_of(images_of(vectors[:, :, None])))[:, :, 0]
    losses = []
    for b, n in np.ndindex(*codes.shape):
        logits = -((h[b, n] - books[n]) ** 2).sum(-1) / config.model.codes.assignment_temperature
        losses.append(np.log(np.exp(logits).sum()) - logits[mixed[b, n]])
    np.testing.assert_allclose(value, np.mean(losses), rtol=1e-4)
    moved = {path.split("/")[1] for path, slope in by_path(slopes).items() if np.any(slope)}
    assert moved == {"encoder"}


def test_an_action_that_training_never_saw_on_a_code_is_impossible():
    """Two actions, a node of two codes and a node of one: the first action never meets code 1."""
    counts = np.array([[[90, 0], [90, 0]], [[10, 100], [110, 0]]], np.float32)
    one_hot = jax.nn.one_hot(jnp.array([[0, 0], [1, 0], [1, 1]]), 2)
    found = joint_ct_vae.possible({"seen": {"counts": counts}}, one_hot)
    # Code 1 of the second node has never occurred, so it speaks against nothing.
    np.testing.assert_array_equal(found, [[True, True], [False, True], [False, True]])


@pytest.mark.slow
def test_the_last_stage_counts_codes_by_action():
    config, method, variables, batch, _ = _case()
    stage = spots.stage(method, "transition")
    context = Context(jax.random.key(0), jnp.int32(0), None)
    _, aux = quick_jit(stage.objectives[0].loss)(variables, batch, context)
    expected = np.zeros((spots.INFO.num_actions, 3, config.model.codes.num_codes))
    for action, codes in zip(batch["action"], batch["x"]["codes"], strict=True):
        for n, k in enumerate(codes):
            expected[action, n, k] += 1
    np.testing.assert_array_equal(aux.variables["seen"]["counts"], expected)


def test_ramp():
    steps = jnp.array([0, 100, 150, 200, 999])
    np.testing.assert_allclose(joint_ct_vae.ramp(steps, (100, 200)), [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(joint_ct_vae.ramp(steps, (100, 100)), [0, 0, 1, 1, 1])


# Several devices


def test_two_devices_equal_one():
    # Assignments are sharp and usage weighs much, so that each half's own usage would show. Their
    # entropy weighs little: at this temperature its gradient magnifies rounding.
    overrides = {
        "model.codes.assignment_temperature": 0.02,
        "model.weights.usage": 10.0,
        "model.weights.doubt": 0.3,
    }
    config, _ = _make(overrides)
    networks = joint_ct_vae.networks(config, spots.INFO)
    model = joint_ct_vae.Model(config.model, spots.INFO, networks, None)
    *_, variables, batch, _ = _case()
    images = batch["x"]["image"] / 127.5 - 1

    def run(axis_name):
        def one(images):
            def loss(params):
                terms, *_, metrics = joint_ct_vae.autoencoder_terms(
                    model, variables | {"params": params}, images, len(images), axis_name
                )
                return joint_ct_vae.weighted_sum(model, terms, jnp.int32(10**6)), metrics

            (value, metrics), slopes = jax.value_and_grad(loss, has_aux=True)(variables["params"])
            if axis_name:
                value, slopes = jax.lax.pmean((value, slopes), axis_name)
            return value, metrics, slopes

        return one

    alone = quick_jit(run(None))(images)
    shared = quick_jit(jax.vmap(run("data"), axis_name="data"))(spots.halves(images))
    for (path, a), s in zip(jax.tree.leaves_with_path(alone), jax.tree.leaves(shared), strict=True):
        for device in range(2):
            np.testing.assert_allclose(
                s[device], a, rtol=1e-3, atol=1e-5, err_msg=jax.tree_util.keystr(path)
            )


@pytest.mark.slow
def test_an_update_is_alike_on_all_devices():
    _, method, variables, batch, _ = _case()
    stage = spots.stage(method, "joint")
    spots.assert_update_is_alike_on_all_devices(stage, variables, batch, quick_jit)


# Learning


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
    config = joint_ct_vae.fit(load_config("ct_vae/quickstart", overrides), info)
    method = joint_ct_vae.make(config, info)
    variables = jax.jit(method.init)(
        jax.random.key(0), {"x": {"image": jnp.zeros((2, *info.image_shape), jnp.uint8)}}
    )
    stage = spots.stage(method, "transition")
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

    layer = joint_ct_vae.transition_layer(config, info)
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

    # It has also seen where each factor ends.
    ends = [(codes[test] < np.array(info.factor_sizes) - 1), codes[test] > 0]
    found = joint_ct_vae.possible(state.variables, one_hot[test])
    np.testing.assert_array_equal(found, np.concatenate(ends, axis=1))

    before, after = (by_path(v["params"]) for v in (variables, state.variables))
    frozen = [path for path in before if path not in by_path(trained)]
    assert any(path.startswith("encoder/") for path in frozen)
    for path in frozen:
        np.testing.assert_array_equal(before[path], after[path], err_msg=path)


# Experiments, switches and networks


def _shapes(method: Method, info: Any) -> dict[str, Any]:
    images = jnp.zeros((2, *info.image_shape), jnp.uint8)
    return jax.eval_shape(method.init, jax.random.key(0), {"x": {"image": images}})


@pytest.mark.parametrize(
    "name",
    [
        "quickstart",
        "quickstart:smoke",
        "quickstart:oriented",
        "quickstart:oriented+smoke",
        "quickstart:few_labels",
        "quickstart:noisy_labels",
        "rooms3d_cpu",
        "rooms3d_cpu:smoke",
        "sprites_small",
    ],
)
def test_experiments_are_whole(name):
    """At full size, but for the data, of which only the facts are needed."""
    config = load_config(f"ct_vae/{name}")
    assert config.method == "cdis.methods.joint_ct_vae"
    info = data.info(config.data.name)
    assert ("oriented" in name) == config.data.name.endswith("oriented")
    method = joint_ct_vae.make(config, info)
    assert set(config.stages) == {stage.name for stage in method.stages}
    shapes = _shapes(method, info)["params"]
    assert set(shapes) == {"encoder", "decoder", "transition", "retrieval", "codebook"}


@pytest.mark.parametrize(
    "overrides",
    [
        {"model.ramps.transitions": "(1000000,1000001)", "model.weights.sharing": "0.0"},
        {"model.gates": "stochastic"},
        {"model.gates": "stochastic", "model.transition.noise": "endo"},
        {"model.retrieval.over_nodes": "mean"},
        {"model.transition.kind": "dense"},
    ],
    ids=str,
)
def test_ablations(overrides):
    """The settings that our experiments change one at a time: both losses can be traced."""
    _, method = _make(overrides)
    *_, batch, _ = _case()
    context = Context(jax.random.key(0), jnp.int32(0), None)
    variables = jax.eval_shape(method.init, jax.random.key(0), batch)
    for stage in method.stages:
        loss = stage.objectives[0].loss
        value, _ = jax.eval_shape(lambda v, loss=loss: loss(v, batch, context), variables)
        assert value.shape == ()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("mask", "tabel", "must be one of table, additive"), ("noise", "exo", "deterministic gates")],
)
def test_switches_that_make_no_sense_are_refused(name, value, message):
    with pytest.raises(UserError, match=message):
        _make({f"model.transition.{name}": value})


MODULE = """
from cdis.methods import joint_ct_vae
from cdis.networks.autoencoder import PatchEncoder

def networks(config, info):
    return joint_ct_vae.networks(config, info)._replace(encoder=PatchEncoder(4, 3, 5, 6))

def make(config, info):
    return joint_ct_vae.make(config, info, networks=networks)
"""


def test_networks_are_swapped_by_a_module_of_a_few_lines(tmp_path, monkeypatch):
    (tmp_path / "with_patches.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    config, ours = _make()
    method = methods.module("with_patches").make(config, spots.INFO)
    del sys.modules["with_patches"]
    before, after = (by_path(_shapes(m, spots.INFO)["params"]) for m in (ours, method))
    swapped = {path for path in after if path.startswith("encoder/")}
    assert after["encoder/Conv_0/kernel"].shape == (3, 3, 4 * 4, 3)
    assert {p for p in before if not p.startswith("encoder/")} == set(after) - swapped
    assert method.encode is not None
    *_, batch, _ = _case()
    variables = jax.eval_shape(method.init, jax.random.key(0), batch)
    codes = jax.eval_shape(method.encode, variables, batch["x"]["image"])["codes"]
    assert codes.shape == (B, 3)


def test_the_dense_baseline_takes_its_widths_from_the_config():
    config, _ = _make({"model.transition.kind": "dense", "model.transition.dense_hidden": (7,)})
    layer = joint_ct_vae.transition_layer(config, spots.INFO)
    assert isinstance(layer, DenseTransition) and layer.hidden == (7,)
