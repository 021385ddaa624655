"""Measurements of methods whose factors cause one another, right or wrong by construction."""

import json

import numpy as np
import pytest
from oracles import (
    SHADE,
    SHADE_MECHANISM,
    SHADE_PREDICTOR,
    measured_causes,
    shade_dataset,
    shade_oracle,
)

from cdis.measure import do_interventions


@pytest.mark.parametrize("follows", [True, False])
def test_causal_factors(follows):
    dataset = shade_dataset()
    metrics, arrays = measured_causes(shade_oracle(follows), dataset, SHADE_MECHANISM)
    json.dumps(metrics, allow_nan=False)
    assert metrics["factors"]["r2"] == pytest.approx(dict.fromkeys(SHADE.factor_names, 1))
    for name in ("mic", "tic"):
        assert metrics["factors"][name] == pytest.approx(metrics["factors"]["perfect"][name])
    assert metrics["reconstruction"]["mse"] == pytest.approx(0, abs=1e-9)
    # The referee reads reconstructions, and real images to compare with.
    assert metrics["reconstruction"]["factor_r2"] == pytest.approx(1)
    assert metrics["reconstruction"]["factor_r2_real_images"] == pytest.approx(1)
    # Latents, here the factors themselves, are scored on held-out images.
    disentanglement = metrics["disentanglement"]
    assert (disentanglement["split"], disentanglement["num_images"]) == ("test", 100)
    for entry in disentanglement["vectors"]["metrics"].values():
        assert entry["scores"] == pytest.approx(entry["perfect"])
    assert disentanglement["vectors"]["metrics"]["mcc"]["scores"]["score"] == pytest.approx(1)
    assert "downstream" not in metrics  # its label weighs four factors
    test = dataset.values[dataset.splits["test"]]
    assert metrics["elbo"] == pytest.approx(-test.sum(1).mean(), rel=1e-5)
    # One edge is missing and one is too many.
    assert metrics["structure"]["shd"] == 2
    assert metrics["interventions"]["truth"] == "mechanism"
    assert metrics["interventions"]["reader"] == pytest.approx(dict.fromkeys(SHADE.factor_names, 1))
    left, right, total = (metrics["interventions"][f"do_{n}"] for n in SHADE.factor_names)
    assert left["count"] == pytest.approx(2 / 3 * 100 * do_interventions.VALUES_EACH, abs=1)
    for scores in (left, right, total):
        assert scores["hit"] == pytest.approx(1, abs=1e-6)
        assert scores["drift"] == pytest.approx(0, abs=1e-6)
    assert set(left["propagation_per_factor"]) == {"sum"}
    assert set(left["drift_per_factor"]) == {"right"}
    assert set(total["drift_per_factor"]) == {"left", "right"} and total["propagation"] is None
    for scores in (left, right):
        assert (scores["propagation"] > 0.999) if follows else (scores["propagation"] < 0.5)
    assert arrays["do_results"].shape == (3, 8, 7, 4, 4, 1)
    # Pixels of the right counterfactuals are right; else those of one in 16 are not.
    pixels = metrics["counterfactual_pixels"]
    assert pixels["error"]["sum"] == pytest.approx(0, abs=1e-9)
    assert (pixels["error"]["left"] < 1e-9) == follows == (pixels["visibly_wrong"]["left"] == 0)
    # A factor's values rise along the columns.
    rising = arrays["do_results"][0, :, :, 0, 0, 0].astype(int)
    assert (np.diff(rising, axis=1) > 0).all()


def test_without_a_mechanism_the_truth_is_a_regression():
    dataset = shade_dataset()
    metrics, _ = measured_causes(shade_oracle(follows=True), dataset, predictor=SHADE_PREDICTOR)
    json.dumps(metrics, allow_nan=False)
    found = metrics["interventions"]
    assert found["truth"] == "regression"
    assert found["reader"] == pytest.approx(dict.fromkeys(SHADE.factor_names, 1))
    # Of the variance of the sum, 2 * 96^2 / 12 comes from its causes and 20^2 / 12 is noise.
    assert found["explained"] == {"sum": pytest.approx(0.98, abs=0.01)}
    for name in ("left", "right"):
        assert found[f"do_{name}"]["hit"] == pytest.approx(1, abs=1e-6)
        assert found[f"do_{name}"]["propagation"] > 0.999
        assert found[f"do_{name}"]["drift"] == pytest.approx(0, abs=1e-6)
        assert found[f"do_{name}"]["unchanged"]["hit"] < 0
    assert "true pixels are unknown" in metrics["counterfactual_pixels"]["reason"]
    assert found["redrawn"] is None
    # What the predictor reads of real images is its own; of reconstructions it is measured.
    assert metrics["reconstruction"]["factor_r2_real_images"] == 0.97
    assert metrics["reconstruction"]["factor_r2"] == pytest.approx(1)

    nothing, _ = measured_causes(
        shade_oracle(False, sets=False), dataset, predictor=SHADE_PREDICTOR
    )
    for name in SHADE.factor_names:
        scores = nothing["interventions"][f"do_{name}"]
        unchanged = {kind: scores[kind] for kind in ("hit", "propagation", "drift")}
        assert unchanged == pytest.approx(scores["unchanged"], abs=1e-6)
        assert scores["hit"] < 0 and scores["drift"] == pytest.approx(0, abs=1e-6)
    assert nothing["interventions"]["do_left"]["propagation"] < 0.5


def test_axioms():
    dataset = shade_dataset()
    axioms = measured_causes(shade_oracle(follows=True), dataset)[0]["axioms"]
    for kind in ("composition", "composition_3", "reversibility"):
        assert axioms[kind] == dict.fromkeys(SHADE.factor_names, 0)
        assert axioms[f"{kind}_worst"] == 0
    assert axioms["reconstruction"] == 0 and axioms["num_images"] == 100
    # Three of 16 pixels differ between two images, by 32, 32 and some 48 grey levels on average.
    assert axioms["random_pairs"] == pytest.approx((32 + 32 + 48) / 16 / 255, rel=0.15)
    # Five grey levels too many, in each of 13 pixels that are black: of 3 pixels, one is set anew.
    brighter = measured_causes(shade_oracle(True, off_by=5.0), dataset)[0]["axioms"]
    assert brighter["composition_worst"] == pytest.approx(5 / 255)
    thrice = brighter["composition_3"]["sum"]
    assert thrice == pytest.approx((13 * 5 + 2 * 15 + 5) / 16 / 255, rel=1e-3)
