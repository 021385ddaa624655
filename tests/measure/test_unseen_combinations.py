"""A split by combination from training to the report, and its referee."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from oracles import INFO, PREDICTOR, VARIABLES, dataset, fake_workdir, measured, oracle, silent

import cdis
from cdis import data, exports
from cdis.cli import main
from cdis.config import override
from cdis.data.combinations import hold_out
from cdis.measure import MEASUREMENTS, compare, evaluate, evaluation, headlines, markdown, report

TINY = str(Path(__file__).parents[1] / "tiny_method.py")
FACTORS = ("left", "turn")
SPLIT = hold_out(dataset(), FACTORS, 0.3)
MEASURED = tuple(
    one for one in MEASUREMENTS
    if one.name in ("unseen_combinations", "action_retrieval", "action_interventions")
)  # fmt: skip


@pytest.fixture
def bars(monkeypatch):
    """The bars are a data set that has a name, and a predictor that needs no training."""
    monkeypatch.setattr(data, "load", lambda *_: dataset())
    monkeypatch.setattr(data, "info", lambda _: INFO)
    monkeypatch.setattr(data, "mechanism", lambda _: None)
    monkeypatch.setattr(evaluation.predictors, "factor_predictor", lambda *_, **__: PREDICTOR)


def test_from_training_to_the_report(bars, tmp_path, capsys):
    workdirs = {name: str(tmp_path / name) for name in ("unseen", "ordinary")}
    train = ["train", "--config", TINY, "--config.data.name=bars", "--workdir"]
    assert main([*train, workdirs["unseen"], "--config.data.unseen=left,turn"]) == 0
    assert SPLIT.unseen is not None
    test = SPLIT.splits["test"]
    line = f"Test split: {len(test)} images with unseen combinations of left and turn (12 of 40)"
    assert line in capsys.readouterr().out
    run = cdis.load(workdirs["unseen"])
    assert (run.config.data.unseen, run.config.data.unseen_share) == (FACTORS, 0.3)
    for found in (run.dataset(), exports.dataset_for(run, None, None)):
        np.testing.assert_array_equal(found.splits["test"], test)
    # The same workdir is not that of another SPLIT.
    assert main([*train, workdirs["unseen"]]) == 2
    assert "data.unseen: ['left', 'turn'] there, [] here" in capsys.readouterr().err

    assert main([*train, workdirs["ordinary"]]) == 0
    measured = {
        name: evaluate(workdir, measurements=MEASURED, progress=silent)
        for name, workdir in workdirs.items()
    }
    assert measured["ordinary"]["unseen"] == []
    assert "unseen_combinations" not in measured["ordinary"]
    metrics = measured["unseen"]
    assert metrics["unseen"] == list(FACTORS)
    scores = metrics["unseen_combinations"]
    assert scores["combinations"] == [list(cell) for cell in SPLIT.unseen.combinations]
    assert scores["num_test_images"] == len(test) == 12 * 6
    assert scores["num_seen_images"] == len(SPLIT.splits["seen"])
    assert metrics["interventions"]["num_images"] == len(test)
    assert scores["seen_interventions"]["num_images"] == len(SPLIT.splits["seen"])
    assert json.loads((tmp_path / "unseen/metrics.json").read_text()) == metrics
    headline = headlines(metrics)[0]
    assert headline.startswith("unseen combinations of left and turn")
    assert "12 of 40" in headline and "72 test images" in headline

    page = report(workdirs["unseen"], progress=silent).read_text()
    assert "(the test split, unseen combinations of left and turn)" in page
    assert "Unseen and seen combinations" in page

    columns = compare(list(workdirs.values()), ["action_retrieval.directed"])
    assert [column["unseen"] for column in columns] == [list(FACTORS), []]
    assert "| test images: unseen combinations of | left x turn | no |" in markdown(columns)
    assert "unseen" not in markdown(columns[1:])


def test_seen_combinations_are_measured_apart():
    """A method that is wrong about test images alone, which are those with unseen combinations."""
    assert SPLIT.unseen is not None
    unseen = np.zeros((5, 8), bool)
    unseen[tuple(np.transpose(SPLIT.unseen.combinations))] = True
    right = oracle()
    assert right.encode is not None
    encode_right = right.encode

    def encode(variables, images, values=None):
        """Reads the second factor as 0 where the combination is unseen."""
        found = encode_right(variables, images)
        factors = 7 - found["codes"][:, :3]
        known = ~jnp.asarray(unseen)[factors[:, 0], factors[:, 2]]
        return {"codes": found["codes"].at[:, 1].set(7 - factors[:, 1] * known)}

    scores, _ = measured(right._replace(encode=encode), VARIABLES, of=SPLIT)
    test, seen = SPLIT.splits["test"], SPLIT.splits["seen"]
    wrong = (SPLIT.factors[test, 1] > 0).mean() / 3
    assert scores["reconstruction"]["factor_accuracy"] == pytest.approx(1 - wrong)
    apart = scores["unseen_combinations"]["seen_reconstruction"]
    assert (apart["factor_accuracy"], apart["num_images"]) == (1.0, len(seen))
    assert apart["split"] == "seen" and scores["reconstruction"]["split"] == "test"
    assert apart["factor_accuracy_real_images"] == 1.0


def test_the_referee_knows_all_combinations(monkeypatch, tmp_path):
    """It is that of the ordinary split, scored on unseen combinations that it was not shown."""
    fake_workdir(monkeypatch)
    override(evaluation.restore(tmp_path).config, {"data.unseen": "turn, left"})
    asked = {}
    find = evaluation.predictors.factor_predictor

    def remember(*arguments, **named):
        asked.update(named)
        return find(*arguments, **named)

    monkeypatch.setattr(evaluation.predictors, "factor_predictor", remember)
    metrics = evaluate(tmp_path, progress=silent)
    assert metrics["unseen"] == ["turn", "left"]
    before = dataset().splits
    for name in ("train", "validation"):
        np.testing.assert_array_equal(asked[f"{name}_index"], before[name])
    in_both = sorted(set(before["test"]) & set(SPLIT.splits["test"]))
    assert in_both and asked["test_index"].tolist() == in_both
