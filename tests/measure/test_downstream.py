"""Downstream tasks on latents that see a misleading tint, or do not."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from oracles import four_shades, measured_causes, sees_the_tint, silent
from sklearn.linear_model import LogisticRegression

from cdis.measure import downstream
from cdis.measure.base import Subject
from cdis.methods.base import Method
from cdis.metrics import downstream as tasks_of_metrics
from cdis.trained import Trained


def test_downstream_tasks(monkeypatch):
    # The tests of the tasks themselves use networks; regressions are enough here.
    monkeypatch.setattr(
        tasks_of_metrics, "_classifier", lambda x, y, seed: LogisticRegression().fit(x, y).predict
    )
    metrics, _ = measured_causes(sees_the_tint(True), four_shades())
    json.dumps(metrics, allow_nan=False)
    tasks = metrics["downstream"]
    parts = {"all", "labelled", "true_factors"}
    for scores in (tasks, tasks["likelier_label"]):
        for part in parts:
            misled = scores["robustness"][part]
            assert misled["few_labels"]["num_train"] == downstream.FEW_LABELS
            assert misled["few_labels"]["agreement_train"] == pytest.approx(0.9, abs=0.01)
            assert misled["all_labels"]["agreement_train"] == pytest.approx(0.8, abs=0.01)
            assert scores["sample_efficiency"][part]["few"] == downstream.FEW_LABELS
        assert set(scores["sample_efficiency"]) == set(scores["robustness"]) == parts
        # Latents that see the tint are misled by it; labelled ones are as good as the factors.
        few = {p: s["few_labels"]["worst_group"] for p, s in scores["robustness"].items()}
        assert few["all"] < few["labelled"] - 0.1
        assert few["labelled"] == pytest.approx(few["true_factors"], abs=0.03)
    # The likelier label can be predicted with certainty, a sampled one cannot.
    best = tasks["likelier_label"]["sample_efficiency"]["true_factors"]["accuracy_all"]
    assert best > 0.97 > 0.9 > tasks["sample_efficiency"]["true_factors"]["accuracy_all"]


def test_downstream_tasks_of_unlabelled_latents(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(downstream, "_classified", lambda parts, *_: {"parts": sorted(parts)})
        metrics, _ = measured_causes(sees_the_tint(False), four_shades())
    assert metrics["downstream"]["parts"] == ["all", "true_factors"]
    assert "factors" not in metrics
    few = four_shades(100)
    metrics, _ = measured_causes(sees_the_tint(False), few)
    assert "100 rows are too few" in metrics["downstream"]["reason"]


def test_a_tinted_image_keeps_its_labels():
    def encode(variables, images, values=None):
        return {"vectors": jnp.asarray(values)}

    method = Method(lambda key, batch: {}, (), encode=encode, labels_at_evaluation=True)
    of, index = four_shades(9), np.array([5, 0, 8])
    subject = Subject(Trained(method, {}, of.info), of, progress=silent)
    vectors = downstream._encode_tinted(subject, index, np.ones(9, int))
    np.testing.assert_array_equal(vectors, of.values[index])
