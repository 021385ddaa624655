"""Measurements of methods whose factors cause one another, right or wrong by construction."""

import json

import numpy as np
import pytest
from oracles import SHADE, SHADE_MECHANISM, measured_causes, shade_dataset, shade_oracle

from cdis.measure import do_interventions


@pytest.mark.parametrize("follows", [True, False])
def test_causal_factors(follows):
    dataset = shade_dataset()
    metrics, arrays = measured_causes(shade_oracle(follows), dataset, SHADE_MECHANISM)
    json.dumps(metrics, allow_nan=False)
    assert metrics["factors"]["r2"] == pytest.approx(dict.fromkeys(SHADE.factor_names, 1))
    assert metrics["reconstruction"]["mse"] == pytest.approx(0, abs=1e-9)
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
    # A factor's values rise along the columns.
    rising = arrays["do_results"][0, :, :, 0, 0, 0].astype(int)
    assert (np.diff(rising, axis=1) > 0).all()
