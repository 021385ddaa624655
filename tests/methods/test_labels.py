"""Labels of any kind: which are binary, which are missing, and which cannot be trained on."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdis.config import load_config
from cdis.data.info import Dataset, Info
from cdis.errors import UserError
from cdis.methods import anchored_cauf_vae, beta_vae, labels
from cdis.methods.base import Context, Stage
from cdis.training.state import by_path
from tests.helpers import quick_jit
from tests.methods import bars
from tests.methods.bars import GRAPH, IMAGES, INFO, TINY, VALUES, B, stage_of

PARTLY = dataclasses.replace(INFO, partly_labelled=True)
UNKNOWN = np.random.default_rng(5).random((B, 3)) < 0.3
UNKNOWN[:2] = [[True] * 3, [False] * 3]
GIVEN = np.where(UNKNOWN, np.nan, VALUES[:B]).astype(np.float32)
BATCH = {"x": {"image": jnp.asarray(IMAGES[:B]), "values": jnp.asarray(GIVEN)}}
CONTEXT = Context(jax.random.key(3), jnp.int32(0), None)


@functools.cache
def _case(name: str, info: Info = PARTLY):
    if name == "supervised":
        overrides = {key: value for key, value in TINY.items() if "autoencoder" in key}
        config = load_config("baselines/beta_vae_pendulum_cpu:supervised", overrides)
        method = beta_vae.make(config, info)
    else:
        overrides = {"model.flow.frozen": False, "model.weights.flow": 1.0, "model.flow.blur": 0.0}
        _, method = bars.make(name, overrides if name == "pendulum_cpu" else {}, info)
    return method, quick_jit(method.init)(jax.random.key(0), BATCH)


def _loss(stage: Stage, variables: Any):
    """Params and labels -> the loss and `Aux`, on the images of the batch."""

    def run(params, values):
        batch = {"x": BATCH["x"] | {"values": values}}
        return stage.objectives[0].loss(variables | {"params": params}, batch, CONTEXT)

    return run


def _standardised(values: np.ndarray) -> np.ndarray:
    return (values - np.array(INFO.value_mean)) / np.array(INFO.value_std)


@pytest.mark.parametrize("name", ["pendulum_cpu", "pendulum_literal", "supervised"])
def test_a_missing_label_counts_for_nothing(name):
    """Losses and gradients are finite; alignment is that of the known labels, image by image."""
    method, variables = _case(name)
    run = _loss(stage_of(method, "images"), variables)
    slopes_of = quick_jit(jax.value_and_grad(run, argnums=(0, 1), has_aux=True))
    (value, aux), (slopes, of_labels) = slopes_of(variables["params"], BATCH["x"]["values"])
    assert np.isfinite(value)
    assert all(np.isfinite(slope).all() for slope in by_path(slopes).values())
    of_labels = np.asarray(of_labels)
    assert (of_labels[UNKNOWN] == 0).all() and (of_labels[~UNKNOWN] != 0).all()
    if name != "pendulum_literal":  # whose encoder sees labels at random
        assert method.encode is not None
        encoded = quick_jit(method.encode)(variables, BATCH["x"]["image"])["vectors"]
        expected, u = 0.0, _standardised(VALUES)
        for b, i in np.ndindex(B, 3):
            if not UNKNOWN[b, i]:
                expected += (float(encoded[b, i]) - u[b, i]) ** 2 / B
        np.testing.assert_allclose(aux.metrics["alignment"], expected, rtol=1e-5)


def _log_density(params: dict[str, np.ndarray], node: int, row: np.ndarray) -> float:
    """log N(z; t, e^s) of a node given its parents, by the affine flow's equation."""
    parents = [j for j in range(3) if GRAPH[node][j]]
    kernel, bias = params["hidden_kernel"][node], params["hidden_bias"][node]
    hidden = np.tanh(sum((row[j] * kernel[j] for j in parents), bias))
    hidden = np.tanh(hidden @ params["second_kernel"][node] + params["second_bias"][node])
    raw, shift = hidden @ params["output_kernel"][node] + params["output_bias"][node]
    log_scale = 3 * np.tanh(raw / 3)
    eps = (row[node] - shift) / np.exp(log_scale)
    return -(eps**2) / 2 - np.log(2 * np.pi) / 2 - log_scale


def test_the_density_is_that_of_factors_known_with_their_causes():
    method, variables = _case("pendulum_cpu")
    stage = stage_of(method, "flow")
    (_, aux), slopes = quick_jit(jax.value_and_grad(_loss(stage, variables), has_aux=True))(
        variables["params"], BATCH["x"]["values"]
    )
    params = jax.tree.map(
        lambda x: np.asarray(x, np.float64), by_path(variables["params"]["conditioner"])
    )
    expected, u, counted = 0.0, _standardised(VALUES), 0
    for b, i in np.ndindex(B, 3):
        if not (UNKNOWN[b, i] or any(UNKNOWN[b, j] and GRAPH[i][j] for j in range(3))):
            expected -= _log_density(params, i, u[b]) / B
            counted += 1
    assert 0 < counted < (~UNKNOWN).sum()
    np.testing.assert_allclose(aux.metrics["flow"], expected, rtol=1e-4)
    assert all(np.isfinite(slope).all() for slope in by_path(slopes).values())


def test_images_that_lack_a_label_have_the_flows_own_density_as_prior():
    method, variables = _case("pendulum_cpu")
    stage = stage_of(method, "images")
    loss: Any = stage.objectives[0].loss
    model = loss.args[0]
    key = jax.random.split(CONTEXT.key, 7)[1]
    u = jnp.asarray(_standardised(VALUES[:B]), jnp.float32)

    @quick_jit
    def divergence(complete):
        given = labels.Labels(u, complete, None)
        terms, *_ = anchored_cauf_vae.elbo_terms(model, variables, BATCH["x"]["image"], given, key)
        return terms["kl"]

    complete = ~UNKNOWN.any(1)
    expected = np.where(complete, *(divergence(jnp.full(B, known)) for known in (True, False)))
    _, aux = quick_jit(_loss(stage, variables))(variables["params"], BATCH["x"]["values"])
    np.testing.assert_allclose(aux.metrics["kl"], expected.mean(), rtol=1e-5)


def test_without_missing_labels_the_loss_is_that_of_labelled_data():
    found = []
    for info in (INFO, PARTLY):
        method, variables = _case("pendulum_cpu", info)
        run = quick_jit(_loss(stage_of(method, "images"), variables))
        found.append(run(variables["params"], jnp.asarray(VALUES[:B]))[1].metrics)
    for term, expected in found[0].items():
        np.testing.assert_allclose(found[1][term], expected, rtol=1e-5, err_msg=term)


def test_factors_of_two_values_are_binary_if_these_are_0_and_1():
    low, high = np.array([0, 0, 3.0]), np.array([1, 2, 5.0])
    share = np.array([0.02, 0.5, 0.3])
    info = dataclasses.replace(
        INFO,
        factor_sizes=(2, 2, 2),
        value_mean=tuple(low + share * (high - low)),
        value_std=tuple((high - low) * np.sqrt(share * (1 - share))),
    )
    found = labels.scale(info)
    np.testing.assert_array_equal(found.binary, [True, False, False])
    np.testing.assert_array_equal(found.mean[:1], [0.5])
    np.testing.assert_allclose(found.mean[1:], [1.0, 3.6])


# Data that cannot be trained on


def _dataset(values: np.ndarray, info: Info) -> Dataset:
    index = np.arange(len(values))
    splits = {"train": index[:32], "validation": index[32:40], "test": index[40:]}
    return Dataset(info, IMAGES, np.zeros(values.shape, np.int32), splits, values)


def _check(values: np.ndarray, fraction: float = 1.0, **facts: Any) -> tuple[str, ...]:
    info = dataclasses.replace(PARTLY, **facts)
    scale, graph = labels.scale(info), np.array(GRAPH, np.float32)
    dataset = _dataset(values.astype(np.float32), info)
    return labels.check(scale, dataset, graph=graph, fraction=fraction)


def test_too_few_labels_are_refused():
    values = VALUES.copy()
    values[10:, 2] = np.nan
    _check(values)
    values[9, 2] = np.nan
    with pytest.raises(UserError, match="Only 9 training images of bars have a label of sum; at l"):
        _check(values)


def test_an_effect_that_is_never_known_with_its_causes_is_refused():
    values = VALUES.copy()
    values[:20, 0] = values[20:, 2] = np.nan
    with pytest.raises(UserError, match=r"Only 0 .* of sum and of all its causes \(left, right\)"):
        _check(values)


def test_a_fraction_that_leaves_too_few_labels_is_refused_and_the_least_one_named():
    """The least one does, one that is 10 % lower does not; whichever images are short of labels."""
    assert _check(VALUES) == ()
    partly, held_out = VALUES.copy(), VALUES.copy()
    partly[20:32, 2] = np.nan
    # For validation only the image has labels that is the last one to keep them.
    shares = np.linspace(0, 1, 1001)
    kept = [int(labels.labelled(jnp.asarray(VALUES[32:40]), share).sum()) for share in shares]
    last = shares[kept.index(7)]
    held_out[32:40][np.asarray(labels.labelled(jnp.asarray(VALUES[32:40]), last))] = np.nan
    for values, known in ((VALUES, 32), (partly, 20), (held_out, 32)):
        with pytest.raises(UserError, match=r"is 1e-06, which leaves labels on 0 of 32 train") as e:
            _check(values, 1e-6)
        least = float(e.value.args[0].split("Set it to ")[1].split()[0])
        assert last < least < 1 if values is held_out else 0 < least < 0.7
        kept = np.asarray(labels.labelled(jnp.asarray(values[:40], jnp.float32), least))
        assert kept[:known].sum() >= 10 and (kept & np.isfinite(values[:40]).any(1))[32:].any()
        (line,) = _check(values, least)
        assert line.startswith(f"Labels of {kept[:32].sum()} of 32 training images are used")
        with pytest.raises(
            UserError, match=r"and on \d of [18] for .*; at least 10 and 1 are needed"
        ):
            _check(values, 0.9 * least)


@pytest.mark.parametrize(
    ("column", "facts", "message"),
    [
        (
            np.full(64, 7.0),
            {"value_mean": (7.0, 5.0, 6.0), "value_std": (0.0, 2.0, 1.5)},
            "hardly vary: their mean is 7",
        ),
        (1.7e9 + VALUES[:, 0], {"value_mean": (1.7e9, 5.0, 6.0)}, "mean is 1.7e"),
        (
            VALUES[:, 0] == 99,
            {"factor_sizes": (2, 0, 0), "value_mean": (0.5, 5.0, 6.0)},
            "left in bars hardly vary",
        ),
        (np.exp(5 * VALUES[:, 0]), {}, "give their logarithm"),
    ],
)
def test_labels_that_do_not_vary_or_vary_too_much_are_refused(column, facts, message):
    values = np.concatenate([column[:, None], VALUES[:, 1:]], 1)
    if "factor_sizes" in facts:
        facts = facts | {"value_std": (0.5, 2.0, 1.5)}
    with pytest.raises(UserError, match=message):
        _check(values, **facts)
