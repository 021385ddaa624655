"""Which metrics say that a stage has learnt nothing, and what is said then."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from cdis.config import load_config, override
from cdis.data.info import Dataset
from cdis.errors import UserError
from cdis.methods import (
    anchored_cauf_vae,
    beta_vae,
    cauf_vae,
    ct_vae,
    diagnose,
    joint_ct_vae,
    labels,
)
from cdis.training import watch
from cdis.training.log import read_log
from cdis.training.loop import train
from tests.methods.bars import BINARY, IMAGES, INFO, TINY, VALUES, stage_of


def _signs(z, values, info=INFO, fraction=1.0):
    scale = labels.scale(info)
    given = labels.read(scale, jnp.asarray(values, jnp.float32), fraction)
    found = labels.signs(scale, info.factor_names, jnp.asarray(z, jnp.float32), given)
    return {name: float(x) for name, x in found.items()}


def test_signs_equal_their_literal_twin():
    """Latent by latent, image by image; the second factor is binary, a third of the labels gone."""
    rng = np.random.default_rng(0)
    info = dataclasses.replace(INFO, **BINARY, partly_labelled=True)
    share, std = 0.3, np.sqrt(0.21)
    info = dataclasses.replace(info, value_mean=(5.0, share, 6.0), value_std=(2.0, std, 1.5))
    values = np.where(rng.random((64, 3)) < 0.3, np.nan, VALUES)
    values[:, 1] = np.where(np.isnan(values[:, 1]), np.nan, values[:, 1] > 5)
    z = rng.normal(size=(64, 3))
    assert info.value_mean and info.value_std and info.binary == (False, True, False)
    found = _signs(z, values, info)
    assert found["spread"] == pytest.approx(max(z[:, i].std() for i in range(3)))
    assert found["labelled"] == pytest.approx(np.isfinite(values).sum() / 3)
    for i, name in enumerate(info.factor_names):
        gains = []
        for latent, value in zip(z[:, i], values[:, i], strict=True):
            if np.isnan(value):
                continue
            if i == 1:
                p = 1 / (1 + np.exp(-latent))
                of_latent, of_constant = (-np.log(q if value else 1 - q) for q in (p, 0.3))
                gains.append((of_constant - of_latent) / -(0.3 * np.log(0.3) + 0.7 * np.log(0.7)))
            else:
                u = (value - info.value_mean[i]) / info.value_std[i]
                gains.append(u**2 - (latent - u) ** 2)
        assert found[f"explained_{name}"] == pytest.approx(np.mean(gains), rel=1e-4)


def test_what_labelled_latents_have_learnt():
    """Constant, meaningless, one factor alone, all: judged by the metrics of their batch."""
    rng = np.random.default_rng(1)
    u, noise = rng.normal(size=(2, 512, 3))
    values = np.array(INFO.value_mean) + np.array(INFO.value_std) * u
    cases = {
        "all": (0.9 * u, 1.0),
        "constant": (np.full_like(u, 0.2), 1.0),
        "zero": (np.zeros_like(u), 1.0),
        "noise": (noise, 1.0),
        "one": (np.where(np.arange(3) == 1, u, noise), 1.0),
        "zero, unlabelled": (np.zeros_like(u), 1e-6),
        "noise, unlabelled": (noise, 1e-6),
    }
    found = {
        name: diagnose.labelled_latents(_signs(z, values, fraction=fraction))
        for name, (z, fraction) in cases.items()
    }
    assert found["all"] is None
    assert found["noise, unlabelled"] is None  # no label can tell
    what = {name: (one.dead, one.what) for name, one in found.items() if one}
    for name in ("constant", "zero", "zero, unlabelled"):
        dead, words = what.pop(name)
        assert dead and words.startswith("the latents are the same for all images")
    dead, words = what.pop("noise")
    assert dead and words.startswith(
        "no latent follows the labels of its factor (the best one, of "
    )
    dead, words = what.pop("one")
    assert not dead and words.endswith("less than 5% of the variance of their labels: left, sum")
    assert not what


def test_codes_in_use():
    of = functools.partial(diagnose.codes, num_codes=64, remedy="x")
    assert of({"codes_used": 2 / 64}) is None
    found = of({"codes_used": 1 / 64})
    assert found and found.dead and found.what.startswith("only 1 of 64 codes is in use")


@pytest.mark.parametrize(
    ("module", "stages"),
    [
        (anchored_cauf_vae, ("images",)),
        (cauf_vae, ("images",)),
        (beta_vae, ("images",)),
        (ct_vae, ("autoencoder",)),
        (joint_ct_vae, ("joint",)),
    ],
)
def test_stages_that_learn_latents_are_judged(module, stages):
    info = dataclasses.replace(INFO, factor_sizes=(3, 3, 3))
    method = module.make(module.defaults(), info)
    assert tuple(s.name for s in method.stages if s.diagnose is not None) == stages
    metrics = {"spread": 0.0, "codes_used": 0.0, "labelled": 8.0}
    judge = stage_of(method, stages[0]).diagnose
    assert judge and (found := judge(metrics | {"explained_left": 0.0})) and found.dead


def test_without_a_weight_on_alignment_latents_need_not_follow_labels():
    ignored = {"spread": 1.0, "labelled": 1.0, "explained_left": -0.5}
    assert diagnose.aligned(0.0)(ignored) is None
    assert (found := diagnose.aligned(1.0)(ignored)) and found.dead


# Trainings


def _train(workdir: Path, values: np.ndarray):
    """beta-VAE with labels on bars, judged at steps 40 and 80."""
    small = {name: value for name, value in TINY.items() if "autoencoder" in name}
    config = load_config("baselines/beta_vae_pendulum_cpu:supervised", small)
    override(
        config,
        {
            "log_every": 40,
            "validate_every": 40,
            "validation_batches": 1,
            "checkpoint_every": 40,
            "stages.images.steps": 80,
            "stages.images.batch_size": 16,
            "stages.images.warmup_steps": 5,
            "stages.images.learning_rate": 1e-2,
        },
    )
    mean, std = tuple(map(float, values.mean(0))), tuple(map(float, values.std(0)))
    info = dataclasses.replace(INFO, value_mean=mean, value_std=std)
    index = np.arange(64)
    splits = {"train": index[:48], "validation": index[48:], "test": index[:0]}
    dataset = Dataset(info, IMAGES, np.zeros((64, 3), np.int32), splits, values)
    return train(config, workdir, dataset=dataset)


def test_a_factor_that_no_image_shows_stops_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(watch, "GRACE", 40)
    values = VALUES.copy()
    values[:, 1] = np.random.default_rng(3).normal(size=64)
    assert int(_train(tmp_path, values).step) == 80
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "Warning" in line]
    assert line.startswith("Warning: images: the latents of these factors explain less than 5%")
    assert "variance of their labels: right. This tends to happen when the images do not" in line
    last = read_log(tmp_path)[-1]
    assert last["validation/explained_left"] > 0.5 > 0 > last["validation/explained_right"]


def test_a_dead_encoder_is_stopped(tmp_path, monkeypatch):
    """Its first ReLUs never fire, as after steps that were too large."""
    alive = beta_vae.init

    def dead(*arguments: Any) -> Any:
        variables = alive(*arguments)
        first = variables["params"]["encoder"]["Conv_0"]
        first |= {"kernel": jnp.zeros_like(first["kernel"]), "bias": first["bias"] - 1}
        return variables

    monkeypatch.setattr(beta_vae, "init", dead)
    monkeypatch.setattr(watch, "GRACE", 40)
    message = r"'images' was stopped at step 80, because the latents are the same .* \(now 0\.01\)"
    with pytest.raises(UserError, match=message):
        _train(tmp_path, VALUES)
    last = read_log(tmp_path)[-1]
    assert last["step"] == 80 and last["validation/spread"] < 1e-3
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["40"]
