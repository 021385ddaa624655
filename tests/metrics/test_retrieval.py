"""Action retrieval on constructed truths."""

import json

import numpy as np
import pytest

from cdis.metrics.intervals import clustered_interval, wilson_interval
from cdis.metrics.retrieval import action_retrieval

ACTION = np.array([0, 0, 1, 2, 3, 4, 5, 5])


def _one_hot(action):
    return np.eye(6)[action]


def test_perfect():
    scores = action_retrieval(_one_hot(ACTION), ACTION, 3)
    assert scores["directed"] == scores["undirected"] == 1
    assert scores["confusion"] == np.diag([2, 1, 1, 1, 1, 2]).tolist()
    assert scores["num_pairs"] == 8
    assert scores["per_action_count"] == [2, 1, 1, 1, 1, 2]
    assert (scores["chance_directed"], scores["chance_undirected"]) == (1 / 6, 1 / 3)


def test_opposite_direction_is_right_undirected_only():
    scores = action_retrieval(_one_hot((ACTION + 3) % 6), ACTION, 3)
    assert (scores["directed"], scores["undirected"]) == (0, 1)
    assert scores["per_action_undirected"] == [1] * 6


def test_undirected_is_the_factor_of_the_argmax_not_the_larger_sum():
    # Factor 0 has more probability over both directions; the most probable action is of factor 1.
    probabilities = np.array([[0.3, 0.4, 0, 0.3, 0, 0]])
    assert action_retrieval(probabilities, np.array([4]), 3)["undirected"] == 1
    assert action_retrieval(probabilities, np.array([0]), 3)["undirected"] == 0


def test_constant_prediction_and_absent_action():
    action = np.array([0, 1, 1, 3])
    scores = action_retrieval(_one_hot(np.full(4, 1)), action, 3)
    assert scores["directed"] == 0.5
    assert scores["per_action"] == [0, 1, None, 0, None, None]
    assert scores["confusion"][1] == [0, 2, 0, 0, 0, 0]
    assert scores["confusion"][3] == [0, 1, 0, 0, 0, 0]
    json.dumps(scores, allow_nan=False)


@pytest.mark.parametrize(
    ("probabilities", "action"),
    [
        (np.full((2, 6), np.nan), [0, 1]),
        (np.ones((2, 5)), [0, 1]),
        (np.ones((2, 6)), [0, 6]),
        (np.ones((0, 6)), []),
    ],
)
def test_refuses(probabilities, action):
    with pytest.raises(ValueError):
        action_retrieval(probabilities, np.array(action, int), 3)


def test_wilson_interval():
    # Newcombe (1998), table I: 81 of 263 and 15 of 148 by the score method.
    np.testing.assert_allclose(wilson_interval(81, 263), (0.2553, 0.3662), atol=1e-4)
    np.testing.assert_allclose(wilson_interval(15, 148), (0.0624, 0.1605), atol=1e-4)
    np.testing.assert_allclose(wilson_interval(0, 20), (0, 0.1611), atol=1e-4)
    assert wilson_interval(0, 0) == (0, 1)


def test_clusters_are_not_independent_trials():
    random = np.random.default_rng(0)
    hits = random.random(200) < 0.3
    counts = np.full(200, 10)
    low, high = clustered_interval(hits * 10.0, counts)  # ten equal trials on each image
    alone = wilson_interval(hits.sum(), 200)
    np.testing.assert_allclose((low, high), alone, atol=0.005)
    independent = clustered_interval(random.binomial(10, 0.3, 200).astype(float), counts)
    assert independent[1] - independent[0] < (high - low) / 2.5
