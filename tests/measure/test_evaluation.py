"""From a workdir to metrics.json."""

import json
from dataclasses import replace

import numpy as np
import pytest
from oracles import dataset, fake_workdir, measured, oracle, silent

from cdis.errors import UserError
from cdis.measure import (
    MEASUREMENTS,
    Headline,
    Measured,
    Measurement,
    evaluate,
    evaluation,
    headlines,
)
from cdis.methods.base import Method


def test_workdir_gets_files_written_atomically(monkeypatch, tmp_path):
    fake_workdir(monkeypatch)
    metrics = evaluate(tmp_path, progress=silent)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert metrics["step"] == 7 and metrics["timing"]["train_seconds"] == 61.5
    assert metrics["labels_at_evaluation"] is False
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.json", "evaluation.npz"}

    before = (tmp_path / "metrics.json").read_bytes()
    monkeypatch.setattr(evaluation, "measure", _fails)
    with pytest.raises(RuntimeError):
        evaluate(tmp_path, progress=silent)
    assert (tmp_path / "metrics.json").read_bytes() == before


def test_other_data_in_place_of_those_trained_on(monkeypatch, tmp_path):
    fake_workdir(monkeypatch)
    monkeypatch.setattr(evaluation.data, "load", _gone)
    with pytest.raises(
        UserError, match=r"cannot be had. own:bars: no such folder. If they are els"
    ):
        evaluate(tmp_path, progress=silent)
    moved = dataset()
    moved = replace(moved, info=replace(moved.info, name="own:new/place", value_mean=(9.0,) * 3))
    seen = []
    remember = Measurement("s", lambda subject: bool(seen.append(subject)), _fails)
    metrics = evaluate(tmp_path, dataset=moved, measurements=(remember,), progress=silent)
    assert metrics["data"] == "own:new/place"
    # Those on other data stand beside those on the data trained on.
    assert {path.name for path in tmp_path.iterdir()} == {
        "evaluation.own-new-place.npz",
        "metrics.own-new-place.json",
    }
    # Values are standardised as in training.
    assert seen[0].info == replace(moved.info, value_mean=None)
    moved = replace(moved, info=replace(moved.info, value_mean=None))
    monkeypatch.setattr(evaluation.data, "load", lambda name, _: moved)
    metrics = evaluate(tmp_path, name="own:new/place", measurements=(remember,), progress=silent)
    assert metrics["data"] == "own:new/place"
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    other = replace(moved, info=replace(moved.info, factor_names=("left", "right", "angle")))
    with pytest.raises(
        UserError, match=r"differs in factor_names .*'turn'\) there, .*'angle'\) here"
    ):
        evaluate(tmp_path, dataset=other, progress=silent)


def test_says_whether_the_method_was_given_labels(monkeypatch, tmp_path):
    fake_workdir(monkeypatch, oracle()._replace(labels_at_evaluation=True))
    lines = []
    metrics = evaluate(tmp_path, measurements=(), progress=lines.append)
    assert metrics["labels_at_evaluation"] is True
    assert "is given the labels" in lines[0]


def _gone(*_):
    raise UserError("own:bars: no such folder.")


def _fails(*_):
    raise RuntimeError("half-way")


def _brightness() -> Measurement:
    """A measurement of one's own: the mean pixel of test images."""

    def measure(subject):
        mean = float(subject.dataset.images[subject.test].mean())
        return Measured({"brightness": {"mean": mean}}, {"brightness": np.array([mean])})

    return Measurement(
        "brightness",
        lambda subject: True,
        measure,
        headlines=lambda metrics: [Headline("brightness", f"{metrics['brightness']['mean']:.1f}")],
    )


def test_a_measurement_of_ones_own(monkeypatch, tmp_path):
    fake_workdir(monkeypatch, Method(oracle().init, ()))
    everything = (*MEASUREMENTS, _brightness())
    metrics = evaluate(tmp_path, measurements=everything, progress=silent)
    of_bars = dataset()
    mean = of_bars.images[of_bars.splits["test"]].mean()
    assert metrics["brightness"]["mean"] == pytest.approx(mean)
    assert np.load(tmp_path / "evaluation.npz")["brightness"] == pytest.approx(mean)
    lines = headlines(metrics, everything)
    assert lines[0].split() == ["brightness", f"{mean:.1f}"] and len(lines) == 2
    assert len(headlines(metrics)) == 1


def test_sections_of_several_measurements_are_merged():
    def of(name, scores):
        return Measurement(name, lambda subject: True, lambda subject: Measured(scores))

    parts = (
        of("one", {"both": {"a": 1}, "timing": {"x": 2}}),
        of("two", {"both": {"b": 3}, "c": 4.0}),
    )
    never = Measurement("never", lambda subject: False, _fails)
    metrics, arrays = measured(oracle(), measurements=(*parts, never))
    assert metrics == {"both": {"a": 1, "b": 3}, "timing": {"x": 2}, "c": 4.0} and not arrays
