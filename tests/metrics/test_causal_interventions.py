"""Scores of interventions whose truth is constructed."""

import numpy as np
import pytest

from cdis.metrics.causal_interventions import descendants, intervention_scores, r_squared

# 0 -> 1 -> 3 <- 2: the same graph as a ball, water, a hole and a jet.
CHAIN = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0]])
STD = (1.0, 2.0, 4.0, 0.5)
RNG = np.random.default_rng(0)
TRUTH = RNG.normal(size=(500, 4)) * STD


def _scores(measured, truth=TRUTH, factor=0):
    return intervention_scores(measured, truth, factor, CHAIN, STD)


def test_descendants_are_the_nodes_that_a_path_leads_to():
    assert [descendants(CHAIN, factor) for factor in range(4)] == [[1, 3], [3], [3], []]
    assert descendants(np.zeros((2, 2)), 1) == []
    upward = CHAIN[::-1, ::-1]  # topological order is not required
    assert descendants(upward, 3) == [0, 2]


def test_perfect_interventions_score_one_one_and_zero():
    scores = _scores(TRUTH)
    assert (scores["hit"], scores["propagation"], scores["drift"]) == (1, 1, 0)
    assert scores["propagation_per_factor"] == [None, 1, None, 1]
    assert scores["drift_per_factor"] == [None, None, 0, None]
    assert scores["undefined"] == {} and scores["count"] == 500


def test_each_score_detects_its_own_error():
    missed = TRUTH.copy()
    missed[:, 0] = TRUTH[:, 0].mean()  # as if nothing had been set
    assert _scores(missed)["hit"] == pytest.approx(0)
    assert _scores(missed)["propagation"] == 1 and _scores(missed)["drift"] == 0

    dead = TRUTH.copy()
    dead[:, 3] = RNG.permutation(TRUTH[:, 3])  # an effect that is independent of its cause
    scores = _scores(dead)
    assert scores["propagation_per_factor"][1] == 1
    assert scores["propagation"] == scores["propagation_per_factor"][3] < -0.5
    assert scores["hit"] == 1 and scores["drift"] == 0

    drifted = TRUTH.copy()
    drifted[:, 2] += 1.0  # a quarter of its standard deviation
    scores = _scores(drifted)
    assert scores["drift"] == scores["drift_per_factor"][2] == pytest.approx(0.25)
    assert scores["hit"] == scores["propagation"] == 1


def test_noise_of_a_known_size_is_measured():
    noise = RNG.normal(size=TRUTH.shape) * STD * 0.1
    scores = _scores(TRUTH + noise, factor=1)
    assert scores["hit"] == pytest.approx(0.99, abs=2e-3)
    assert scores["propagation"] == pytest.approx(0.99, abs=2e-3)
    # The mean of a half-normal is sqrt(2 / pi); the worst of two is above it by chance alone.
    assert scores["drift_per_factor"] == [
        pytest.approx(0.08, abs=0.01),
        None,
        pytest.approx(0.08, abs=0.01),
        None,
    ]
    assert scores["drift"] == max(scores["drift_per_factor"][::2])


def test_an_affine_distortion_is_not_a_hit():
    stretched = TRUTH.copy()
    stretched[:, 0] *= 2  # perfectly correlated, and wrong
    assert _scores(stretched)["hit"] == pytest.approx(0, abs=0.02)


def test_a_root_of_everything_and_a_leaf():
    leaf = _scores(TRUTH + 1, factor=3)
    assert leaf["propagation"] is None and leaf["propagation_per_factor"] == [None] * 4
    assert (
        leaf["drift"] == 1.0
    )  # of factor 0, which has the smallest standard deviation of the others
    alone = intervention_scores(TRUTH[:, :1], TRUTH[:, :1], 0, np.zeros((1, 1)), (1.0,))
    assert alone["drift"] is None and alone["propagation"] is None and alone["hit"] == 1


def test_constant_counterfactuals_have_no_r_squared():
    flat = TRUTH.copy()
    flat[:, [0, 3]] = 3.0, -1.0
    scores = _scores(TRUTH, flat)
    assert scores["hit"] is None and scores["propagation_per_factor"][3] is None
    assert scores["propagation"] == scores["propagation_per_factor"][1] == 1
    assert sorted(scores["undefined"]) == [0, 3]
    assert "not defined" in scores["undefined"][3]
    # Rounding error is not variation.
    flat[::2, 0] += 1e-7
    assert _scores(TRUTH, flat)["hit"] is None
    with pytest.raises(ValueError, match="constant"):
        r_squared(TRUTH[:, 0], np.ones(500))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"measured": TRUTH[:, :3]}, "must both be"),
        ({"measured": TRUTH[:0], "counterfactual": TRUTH[:0]}, "not empty"),
        ({"measured": np.where(TRUTH > 1, np.nan, TRUTH)}, "must be finite"),
        ({"counterfactual": np.full_like(TRUTH, np.inf)}, "must be finite"),
        ({"factor": 4}, "no factor 4"),
        ({"adjacency": np.ones((4, 4))}, "cycle"),
        ({"adjacency": CHAIN[:3]}, r"\[F, F\]"),
        ({"std": (1.0, 1.0, 0.0, 1.0)}, "positive numbers"),
        ({"std": (1.0, 1.0)}, "4 positive numbers"),
    ],
)
def test_invalid_arguments_are_refused(change, message):
    arguments = {
        "measured": TRUTH,
        "counterfactual": TRUTH,
        "factor": 0,
        "adjacency": CHAIN,
        "std": STD,
    }
    with pytest.raises(ValueError, match=message):
        intervention_scores(**{**arguments, **change})
