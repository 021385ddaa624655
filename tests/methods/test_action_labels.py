"""Labels of actions: which pairs have one, what is believed of the others, and the losses."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spots
from helpers import quick_jit
from ml_collections import ConfigDict

from cdis import data
from cdis.config import load_config
from cdis.data import examples
from cdis.data.info import Dataset
from cdis.data.pipeline import batches
from cdis.data.sprites2d import GRIDS, grid_factors
from cdis.errors import UserError
from cdis.methods import action_labels, joint_ct_vae
from cdis.methods.action_labels import UNKNOWN
from cdis.methods.base import Context
from cdis.ops.actions import opposite

P = 3
TINY: dict[str, Any] = {
    "model.autoencoder.width": 4,
    "model.autoencoder.hidden": 16,
    "model.autoencoder.decoder_hidden": (16,),
    "model.autoencoder.decoder_rank": 4,
    "model.codes.num_codebooks": 3,
    "model.codes.num_codes": 4,
    "model.transition.edge_hidden": 4,
    "model.transition.embedding": 8,
    "model.ramps.transitions": (0, 1),
}


def _labels(**fields: float) -> ConfigDict:
    return ConfigDict(action_labels.defaults() | fields)


@functools.cache
def _dataset() -> Dataset:
    """Coloured sprites without their pixels: 4,608 images, of which 3,225 are for training."""
    info = data.info("sprites2d/coloured")
    factors = grid_factors(GRIDS["coloured"], np.arange(info.num_images))
    order = np.random.default_rng(0).permutation(len(factors))
    train, rest = np.sort(order[:3225]), np.sort(order[3225:])
    images = np.zeros((len(factors), 0, 0, 0), np.uint8)
    splits = {"train": train, "validation": rest}
    return Dataset(info, images, factors, splits, factors.astype(np.float32))


def _find(split: str, **fields: float) -> examples.Examples:
    dataset = _dataset()
    return action_labels.rows(_labels(**fields)).find(dataset, dataset.splits[split])


def _by_pair(rows: examples.Examples) -> dict[tuple[int, int], int]:
    """(x, y) -> label. A repeated pair has the same label each time."""
    x, y, action = rows.images["x"], rows.images["y"], rows.labels["action"]
    found: dict[tuple[int, int], int] = {}
    for key, label in zip(zip(x.tolist(), y.tolist(), strict=True), action.tolist(), strict=True):
        assert found.setdefault(key, label) == label
    return found


# Which pairs have a label


def test_labels_of_a_pair_and_its_reverse_are_decided_together():
    truth = _by_pair(_find("train"))
    found = _by_pair(_find("train", fraction=0.3, wrong=0.2))
    assert found.keys() == truth.keys()
    num_factors = _dataset().info.num_factors
    for (x, y), label in found.items():
        back = UNKNOWN if label == UNKNOWN else opposite(label, num_factors)
        assert found[y, x] == back
    known = [pair for pair, label in found.items() if label != UNKNOWN]
    wrong = [pair for pair in known if found[pair] != truth[pair]]
    # Of some 9,000 independent pairs, and 2,700 labels.
    assert abs(len(known) / len(truth) - 0.3) < 0.02
    assert abs(len(wrong) / len(known) - 0.2) < 0.03
    # A wrong label is any other action.
    assert len({(truth[pair], found[pair]) for pair in wrong}) == 10 * 9


def test_labels_are_permanent_and_nested():
    few, more = (_by_pair(_find("train", fraction=f, wrong=0.1)) for f in (0.05, 0.5))
    assert all(more[pair] == label for pair, label in few.items() if label != UNKNOWN)
    labelled = sorted(pair for pair, label in few.items() if label != UNKNOWN)
    assert labelled[:3] == [(0, 256), (21, 85), (28, 29)]
    assert [few[pair] for pair in labelled[:3]] == [1, 2, 4]


def test_labelled_pairs_make_up_half_of_the_batches():
    assert _find("train", fraction=1.0, assumed_wrong=0.1).count == _find("train").count
    most = _find("train", fraction=0.7)
    assert most.count == _find("train").count
    few = _find("train", fraction=0.05)
    batch = next(iter(batches({}, few, batch_size=4000, seed=0, num_batches=1, threads=0)))
    assert abs(np.mean(batch["action"] != UNKNOWN) - 0.5) < 0.05
    # Every pair is there.
    assert _by_pair(few).keys() == _by_pair(_find("train")).keys()


def test_pairs_that_are_held_out_keep_their_actions():
    held_out = _find("validation", fraction=0.05, wrong=0.5)
    assert _by_pair(held_out) == _by_pair(_find("validation"))
    assert held_out.count


def test_the_log_counts_labels():
    assert action_labels.check_data(_labels(assumed_wrong=0.1), _dataset()) == ()
    (line,) = action_labels.check_data(_labels(fraction=0.05, wrong=0.1), _dataset())
    truth, found = (_by_pair(_find("train", **f)) for f in ({}, {"fraction": 0.05, "wrong": 0.1}))
    known = [pair for pair, label in found.items() if label != UNKNOWN]
    wrong = sum(found[pair] != truth[pair] for pair in known)
    assert f"{len(known):,} of {len(truth):,} training pairs have one; {wrong} of" in line


def test_an_action_without_any_label_is_refused():
    with pytest.raises(UserError, match="none of the action"):
        action_labels.check_data(_labels(fraction=1e-4), _dataset())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("fraction", 0.0, "must be above 0"),
        ("fraction", 1.5, "at most 1"),
        ("wrong", -0.1, "at least 0"),
        ("assumed_wrong", 0.75, "below 0.75, the share at which labels of 4 actions say nothing"),
    ],
)
def test_shares_that_make_no_sense_are_refused(name, value, message):
    with pytest.raises(UserError, match=message):
        _case({f"model.action_labels.{name}": value})


# Losses


def _case(overrides: dict[str, Any]) -> tuple[joint_ct_vae.Model, Any]:
    """Model and method on the spots."""
    config = load_config("ct_vae/quickstart", TINY | overrides)
    method = joint_ct_vae.make(config, spots.INFO)
    model = joint_ct_vae.Model(
        config.model, spots.INFO, joint_ct_vae.networks(config, spots.INFO), None
    )
    return model, method


@functools.cache
def _variables() -> Any:
    variables = quick_jit(_case({})[1].init)(jax.random.key(0), spots.pairs(np.arange(P)))
    # Moved away from the start, at which all actions predict the same.
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: x + rng.normal(size=x.shape, scale=0.5).astype("f"), variables)


LABEL = np.array([3, UNKNOWN, 1], np.int32)


def _codes() -> tuple[Any, Any]:
    """Soft "one-hot" codes of x and y, so that their gradients differ."""
    return tuple(jax.nn.softmax(2 * jax.random.normal(jax.random.key(2), (2, P, 3, 4))))


def _twin(model, variables, x, y, label, trust):
    """The terms of retrieval and prediction: loops over pairs, directions and actions."""
    e, back = trust * model.config.action_labels.assumed_wrong, [2, 3, 0, 1]
    forward = joint_ct_vae.predict(model, variables, x, "all", None, True).logits
    backward = joint_ct_vae.predict(model, variables, y, "all", None, True).logits
    retrieval = action = 0.0
    for b in range(P):
        log_p, misfit = [], []  # of each action, from x to y and from y to x
        for logits, target in ((forward, y), (backward, x)):
            codes, fixed = jax.nn.log_softmax(logits[b]), jax.lax.stop_gradient(target[b])
            fit = [jnp.sum(codes[a] * target[b]) for a in range(4)]
            fit = [value / joint_ct_vae.temperature(variables) for value in fit]
            log_p.append([value - jnp.log(sum(map(jnp.exp, fit))) for value in fit])
            misfit.append([-jnp.sum(codes[a] * fixed) / 3 for a in range(4)])
        joint = []
        for a in range(4):
            prior = 1 / 4 if label[b] == UNKNOWN else 1 - e if label[b] == a else e / 3
            joint.append(jax.lax.stop_gradient(prior * jnp.exp(log_p[0][a] + log_p[1][back[a]])))
        for a in range(4):
            weight = jnp.where(joint[a] == jnp.max(jnp.array(joint)), joint[a] / sum(joint), 0)
            weight *= trust if label[b] == UNKNOWN else 1.0
            retrieval -= weight * (log_p[0][a] + log_p[1][back[a]]) / (2 * P)
            action += weight * (misfit[0][a] + misfit[1][back[a]]) / (2 * P)
    return retrieval, action


def test_terms_equal_their_twin():
    fields = {"fraction": 0.5, "assumed_wrong": 0.3}
    model, _ = _case({f"model.action_labels.{name}": x for name, x in fields.items()})

    def fast(variables, x, y, trust):
        terms, *_ = joint_ct_vae.transition_terms(
            model, variables, x, y, jnp.asarray(LABEL), jax.random.key(0), trust, True
        )
        return terms["retrieval"], terms["action"]

    def slow(variables, x, y, trust):
        return _twin(model, variables, x, y, LABEL, trust)

    def differentiated(terms_of):
        def total(*arguments):
            retrieval, action = terms_of(*arguments)
            return 2 * retrieval + 3 * action, action

        return quick_jit(jax.value_and_grad(total, (0, 1, 2), has_aux=True))

    fast, slow = differentiated(fast), differentiated(slow)
    for trust in (0.0, 0.7):
        arguments = (_variables(), *_codes(), trust)
        found, expected = fast(*arguments), slow(*arguments)
        for (path, a), b in zip(
            jax.tree.leaves_with_path(found), jax.tree.leaves(expected), strict=True
        ):
            name = jax.tree_util.keystr(path)
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=name)


def _terms(overrides: dict[str, Any]) -> Any:
    """(batch, step) -> the terms of the joint stage."""
    stage = spots.stage(_case(overrides)[1], "joint")

    def run(batch, step):
        context = Context(jax.random.key(0), step, None)
        return stage.objectives[0].loss(_variables(), batch, context)[1].metrics

    return quick_jit(run)


@functools.cache
def _terms_of_few() -> Any:
    return _terms({"model.action_labels.fraction": 0.5})


def test_with_every_label_the_loss_is_the_plain_one():
    batch = spots.pairs(np.arange(P))
    found, expected = (terms(batch, 2000) for terms in (_terms_of_few(), _terms({})))
    assert found.keys() == expected.keys()
    for name, term in expected.items():
        np.testing.assert_allclose(found[name], term, rtol=1e-5, err_msg=name)


def test_pairs_without_a_label_come_in_after_a_while():
    batch = spots.pairs(np.arange(P)) | {"action": jnp.asarray(LABEL)}
    images = batch["y"]["image"]
    other = batch | {"y": {"image": images.at[1].set(255 - images[1])}}
    assert LABEL[1] == UNKNOWN
    (early, before), (late, after) = (
        [_terms_of_few()(each, step) for each in (batch, other)] for step in (1000, 2000)
    )
    for name in ("retrieval", "action", "sharing", "image"):
        np.testing.assert_allclose(early[name], before[name], rtol=1e-6, err_msg=name)
        assert abs(late[name] - after[name]) > 1e-3 * late[name], name
