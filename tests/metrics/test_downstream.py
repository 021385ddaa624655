"""Downstream tasks on representations that contain the label, hide it, or contain a distractor."""

import json

import numpy as np
import pytest

from cdis.metrics.arrays import UnsuitableData, standardised
from cdis.metrics.downstream import distributional_robustness, sample_efficiency, synthetic_label

RANDOM = np.random.default_rng(0)
FACTORS = RANDOM.normal(size=(1500, 4))
LABEL = (FACTORS[:, 0] > 0).astype(int)
ATTRIBUTE = RANDOM.integers(2, size=1500)
NOISE = RANDOM.normal(size=(1500, 2))


def test_label_has_the_published_probability():
    many = np.random.default_rng(1).normal(size=(40_000, 4))
    label = synthetic_label(many)
    line = standardised(many) @ [1, -1, 0.5, -0.5]
    expected = 1 / (1 + np.exp(-line - 2 * np.sin(line)))
    for low, high in ((-3, -1), (-1, 0), (0, 1), (1, 3)):
        within = (line >= low) & (line < high)
        assert label[within].mean() == pytest.approx(expected[within].mean(), abs=0.02)
    np.testing.assert_array_equal(label, synthetic_label(many))
    assert (label != synthetic_label(many, seed=1)).any()
    likelier = synthetic_label(many, sampled=False)
    np.testing.assert_array_equal(likelier, expected > 0.5)
    assert (likelier == label).mean() == pytest.approx(
        np.maximum(expected, 1 - expected).mean(), abs=0.01
    )
    with pytest.raises(UnsuitableData, match="weighs 4 factors"):
        synthetic_label(many[:, :3])


@pytest.mark.slow
def test_sample_efficiency():
    plain = sample_efficiency(FACTORS[:, :1], LABEL, few=50, repeats=3)
    json.dumps(plain, allow_nan=False)
    assert plain["efficiency"] > 0.95 and plain["accuracy_all"] > 0.97
    low, high = plain["efficiency_interval"]
    assert low <= plain["efficiency"] <= high
    buried = np.concatenate([FACTORS[:, :1], RANDOM.normal(size=(1500, 20))], 1)
    hidden = sample_efficiency(buried, LABEL, few=50, repeats=3)
    assert hidden["efficiency"] < plain["efficiency"] - 0.05
    assert len(hidden["per_repeat"]) == 3


@pytest.mark.slow
def test_distributional_robustness():
    causal = distributional_robustness(FACTORS[:, :2], LABEL, ATTRIBUTE, repeats=3)
    json.dumps(causal, allow_nan=False)
    assert causal["average"] > 0.95 and causal["worst_group"] > 0.9
    assert causal["agreement_train"] == pytest.approx(0.8, abs=0.01)
    assert causal["agreement_test"] == pytest.approx(0.5, abs=0.02)
    # A representation of the attribute alone is misled by it.
    distracted = np.stack([ATTRIBUTE + 0.01 * NOISE[:, 0], NOISE[:, 1]], 1)
    misled = distributional_robustness(distracted, LABEL, ATTRIBUTE, repeats=3)
    assert misled["average"] == pytest.approx(0.5, abs=0.08)
    assert misled["worst_group"] < 0.15
    assert set(misled["per_group"]) == {f"label {a}, attribute {b}" for a in (0, 1) for b in (0, 1)}
    low, high = misled["average_interval"]
    assert low <= misled["average"] <= high


def test_robustness_with_few_labels():
    scores = distributional_robustness(
        FACTORS[:, :2], LABEL, ATTRIBUTE, agreement_train=0.9, few=101, test_share=0.5, repeats=2
    )
    assert scores["num_train"] == 101 and scores["num_test"] > 700
    assert scores["agreement_train"] == pytest.approx(0.9, abs=0.01)
    assert scores["agreement_test"] == pytest.approx(0.5, abs=0.01)
    assert 0.8 < scores["worst_group"] < scores["average"]


def test_refuses():
    with pytest.raises(UnsuitableData, match="too few"):
        sample_efficiency(FACTORS[:100], LABEL[:100])
    with pytest.raises(UnsuitableData, match="two repeats"):
        sample_efficiency(FACTORS, LABEL, repeats=1)
    with pytest.raises(UnsuitableData, match="0 or 1"):
        distributional_robustness(FACTORS, LABEL, ATTRIBUTE + 1)
    with pytest.raises(UnsuitableData, match="too few"):
        distributional_robustness(FACTORS, LABEL, LABEL)
    with pytest.raises(UnsuitableData, match="2000 are asked for"):
        distributional_robustness(FACTORS, LABEL, ATTRIBUTE, few=2000)
    with pytest.raises(UnsuitableData, match="too few for 3"):
        distributional_robustness(FACTORS, LABEL, ATTRIBUTE, few=20, agreement_train=0.9)
    with pytest.raises(UnsuitableData, match="vector"):
        sample_efficiency(FACTORS, FACTORS)
