"""Runs side by side: which belong together, their means and intervals, what is refused."""

import json

import numpy as np
import pytest
from scipy import stats

from cdis.cli import main
from cdis.errors import UserError
from cdis.measure import MEASUREMENTS, compare, markdown


@pytest.fixture
def runs(tmp_path):
    """Three seeds of one experiment and one of another, which lacks a score."""
    values = {"flow-s0": 0.1, "flow-s1": 0.25, "flow-s2": 0.4, "plain": 0.001}
    for seed, (name, value) in enumerate(values.items()):
        (tmp_path / name).mkdir()
        config = {"method": name.split("-")[0], "seed": seed, "model": {"width": 4}}
        metrics = {"elbo": 1000.0 * (seed + 1), "reconstruction": {"mse": value}}
        if name != "plain":
            metrics["factors"] = {"r2_worst": 0.9, "mcc": value, "r2": {"a": 0.9}}
        (tmp_path / name / "config.json").write_text(json.dumps(config))
        (tmp_path / name / "metrics.json").write_text(json.dumps(metrics))
    return [tmp_path / name for name in values]


def test_seeds_are_taken_together(runs):
    flow, plain = compare([runs[0], runs[3], *runs[1:3]])
    assert (flow["name"], flow["seeds"]) == ("flow-s", [0, 1, 2])
    assert (plain["name"], plain["seeds"]) == ("plain", [3])
    titled = {name for measurement in MEASUREMENTS for name in measurement.scores}
    assert set(flow["scores"]) == {"elbo", "reconstruction.mse", "factors.r2_worst"} <= titled
    mse = flow["scores"]["reconstruction.mse"]
    assert mse["mean"] == pytest.approx(0.25)
    expected = stats.t.interval(0.95, 2, 0.25, np.std([0.1, 0.25, 0.4], ddof=1) / np.sqrt(3))
    assert mse["interval"] == pytest.approx(expected)
    assert plain["scores"]["reconstruction.mse"] == {"mean": 0.001, "interval": None}
    assert plain["scores"]["factors.r2_worst"] is None


def test_the_table(runs, capsys):
    assert main(["compare", *map(str, runs), "--scores", "reconstruction,factors.mcc,elbo"]) == 0
    half = stats.t.ppf(0.975, 2) * 0.15 / np.sqrt(3)
    assert capsys.readouterr().out.splitlines() == [
        "|  | flow-s | plain |",
        "| --- | --- | --- |",
        "| seeds | 0, 1, 2 | 3 |",
        f"| reconstruction MSE | 0.250 ± {half:.2g} | 0.001 |",
        f"| factors.mcc | 0.250 ± {half:.2g} | – |",
        f"| ELBO | 2,000 ± {1000 * half / 0.15:,.0f} | 4,000 |",
    ]
    assert main(["compare", str(runs[3]), "--scores", "elbo", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == compare(runs[3:], ["elbo"])
    assert markdown(compare(runs[3:], ["elbo"])).endswith("| ELBO | 4,000 |")


def test_refuses(runs, tmp_path, capsys):
    with pytest.raises(UserError, match="second run of one experiment with seed 0"):
        compare([runs[0], runs[0]])
    for wrong in ("nope", "factors.r2", "factors.r2.b"):
        with pytest.raises(UserError, match=f"No run has a number '{wrong}'"):
            compare(runs, [wrong])
    with pytest.raises(UserError, match="that cdis evaluate has measured"):
        compare([tmp_path])
    assert main(["compare"]) == 2
    assert "takes DIR ..., but was given nothing" in capsys.readouterr().err
