"""Images that lack labels are left out; discrete and continuous factors are measured together."""

import json

import numpy as np
import pytest
from oracles import (
    INFO,
    SHADE_MECHANISM,
    dataset,
    measured,
    measured_causes,
    oracle,
    shade_oracle,
    with_a_category,
    without_labels,
)

from cdis.config import common
from cdis.measure import headlines, page
from cdis.metrics.factor_predictor import FactorPredictor


def _read(images):
    """The grey levels, that of "right" as an index."""
    read = np.array(SHADE_MECHANISM.referee(images))
    read[:, 1] = np.round(read[:, 1] / 40)
    return read


READER = FactorPredictor(_read, np.array([0.9, 0.95, 0.8]))


def _lines(metrics):
    timing = metrics.get("timing", {}) | {"train_seconds": 1.0}
    return headlines(metrics | {"timing": timing})


def test_actions():
    whole = dataset()
    test = whole.splits["test"]
    metrics, arrays = measured(oracle(), of=without_labels(whole, test[::3], 1))
    json.dumps(metrics, allow_nan=False)
    retrieval, interventions = metrics["action_retrieval"], metrics["interventions"]
    assert retrieval["directed"] == 1
    assert retrieval["num_pairs"] < measured(oracle())[0]["action_retrieval"]["num_pairs"]
    assert interventions["all_factors_right"] == 1 and interventions["num_images"] == 80
    assert interventions["mse"] == pytest.approx(0, abs=1e-9)
    # Every image is reconstructed, and its known labels are compared.
    assert metrics["reconstruction"]["num_images"] == 120
    assert metrics["reconstruction"]["factor_accuracy_per_factor"] == dict.fromkeys(
        INFO.factor_names, 1
    )
    assert metrics["disentanglement"]["num_images"] == len(whole.images) - 40
    assert metrics["graph"]["num_images"] == 80
    assert metrics["axioms"]["there_and_back"] == dict.fromkeys(INFO.action_names, 0)
    assert set(np.unique(arrays["intervention_right"][arrays["intervention_valid"]])) == {True}


def test_kinds_of_factors_side_by_side():
    whole = with_a_category()
    test = whole.splits["test"]
    metrics, arrays = measured_causes(
        shade_oracle(follows=True), without_labels(whole, test[:40], 0), predictor=READER
    )
    json.dumps(metrics, allow_nan=False)
    found = metrics["interventions"]
    assert found["truth"] == "regression" and found["categories"] == ["right"]
    assert found["reader"] == pytest.approx(dict.fromkeys(whole.info.factor_names, 1))
    by_name = found["do_right"]
    assert by_name["hit"] == 1 and by_name["count"] == 2 * 60
    assert by_name["unchanged"]["hit"] == pytest.approx(1 / 3, abs=0.12)
    assert by_name["propagation"] > 0.999 and by_name["drift"] == pytest.approx(0, abs=1e-6)
    assert found["do_left"]["drift_per_factor"] == {"right": 0}
    # Each name is shown, in order.
    assert set(arrays["do_values"][1]) == {0, 40, 80}
    for section in ("factors", "structure", "disentanglement", "labels_decoded"):
        assert metrics[section]["num_images"] == 60
    assert np.isfinite(metrics["elbo"])
    reconstruction = metrics["reconstruction"]
    assert reconstruction["factor_accuracy_per_factor"] == {"right": 1}
    assert reconstruction["factor_r2_per_factor"] == pytest.approx({"left": 1, "sum": 1})
    assert reconstruction["factor_r2_real_images"] == 0.8
    # No action has a meaning where a factor has no steps.
    assert not {"action_retrieval", "graph"} & set(metrics)
    lines = _lines(metrics)
    assert any("estimated by regression" in line for line in lines)
    assert any(line.startswith("do(right): accuracy of right ") for line in lines)


def test_too_few_labels_are_a_reason_and_no_score():
    bars, shades = dataset(), with_a_category()
    few, _ = measured(oracle(), of=without_labels(bars, bars.splits["test"][49:], 1))
    other, _ = measured_causes(
        shade_oracle(follows=True),
        without_labels(shades, shades.splits["test"][49:], 0),
        predictor=READER,
    )
    for metrics, sections in (
        (few, ("interventions", "graph", "disentanglement")),
        (
            other,
            ("interventions", "factors", "structure", "elbo", "disentanglement", "labels_decoded"),
        ),
    ):
        for section in sections:
            assert "49 of" in metrics[section]["reason"]
        assert "reconstruction" in metrics and "axioms" in metrics
        lines = _lines(metrics)
        assert lines and not any("do(" in line for line in lines)
        of = bars if metrics is few else shades
        shown = page.html_page(
            "", of.info, common(), {"step": 1} | metrics, headlines=(), tables=(), pictures=()
        )
        assert "Not measured: interventions. Only 49 of" in shown
    alone = without_labels(bars, np.arange(len(bars.images))[1:], 0)
    assert "one step" in measured(oracle(), of=alone)[0]["action_retrieval"]["reason"]


def test_a_regression_needs_labels_of_training_images():
    whole = with_a_category()
    train = whole.splits["train"]
    metrics, _ = measured_causes(
        shade_oracle(follows=True), without_labels(whole, train[10:], 2), predictor=READER
    )
    assert "at least 20 rows" in metrics["interventions"]["reason"]
