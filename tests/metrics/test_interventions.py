"""Intervention scores on constructed truths."""

import numpy as np
import pytest

from cdis.metrics.interventions import intervention_scores, target_factors

SIZES, CIRCULAR = (3, 4, 5), (False, False, True)
GRID = np.stack(np.unravel_index(np.arange(60), SIZES), 1)
FACTORS, ACTION = np.repeat(GRID, 6, 0), np.tile(np.arange(6), 60)
IMAGE = np.repeat(np.arange(60), 6)


def _scores(predicted):
    return intervention_scores(predicted, FACTORS, ACTION, SIZES, CIRCULAR, image=IMAGE)


def test_targets_against_a_literal_walk():
    target, valid = target_factors(FACTORS, ACTION, SIZES, CIRCULAR)
    for row, action, reached, possible in zip(FACTORS, ACTION, target, valid, strict=True):
        factor, step = action % 3, 1 if action < 3 else -1
        wanted = row.copy()
        wanted[factor] += step
        if CIRCULAR[factor]:
            wanted[factor] %= SIZES[factor]
        inside = 0 <= wanted[factor] < SIZES[factor]
        assert possible == inside
        if inside:
            np.testing.assert_array_equal(reached, wanted)


def test_perfect():
    target, valid = target_factors(FACTORS, ACTION, SIZES, CIRCULAR)
    scores = _scores(target)
    assert scores["named_factor_moved"] == scores["other_factors_kept"] == 1
    assert scores["all_factors_right"] == 1
    assert scores["count"] == valid.sum()
    # Two of the three values of factor 0 can step up; the circular factor 2 always can.
    assert [entry["count"] for entry in scores["per_action"]] == [40, 45, 60, 40, 45, 60]
    low, high = scores["named_factor_moved_interval"]
    assert 0.9 < low < high == 1


def test_unchanged_images_and_wrong_direction():
    unchanged = _scores(FACTORS)
    assert unchanged["named_factor_moved"] == unchanged["all_factors_right"] == 0
    assert unchanged["other_factors_kept"] == 1
    backwards, _ = target_factors(FACTORS, (ACTION + 3) % 6, SIZES, CIRCULAR)
    assert _scores(backwards)["named_factor_moved"] == 0


def test_another_factor_changed():
    target, _ = target_factors(FACTORS, ACTION, SIZES, CIRCULAR)
    changed = target.copy()
    changed[:, 1] = 3 - changed[:, 1]  # never the original value, since there are 4 values
    scores = _scores(changed)
    assert scores["kept_per_factor"] == [1, 0, 1]
    assert [entry["named_factor_moved"] for entry in scores["per_action"]] == [1, 0, 1, 1, 0, 1]
    assert [entry["other_factors_kept"] for entry in scores["per_action"]] == [
        0.5, 1, 0.5, 0.5, 1, 0.5,
    ]  # fmt: skip
    assert scores["all_factors_right"] == 0


def test_impossible_actions_are_not_counted():
    at_the_end = np.array([[2, 0, 0], [2, 0, 0]])
    action = np.array([0, 2])
    target = np.array([[0, 0, 0], [2, 0, 1]])
    scores = intervention_scores(target, at_the_end, action, SIZES, CIRCULAR)
    assert scores["count"] == 1
    assert scores["per_action"][0]["named_factor_moved"] is None
    with pytest.raises(ValueError):
        intervention_scores(target[:1], at_the_end[:1], action[:1], SIZES, CIRCULAR)


def test_one_factor_alone():
    scores = intervention_scores(np.array([[1]]), np.array([[0]]), np.array([0]), (3,), (False,))
    assert scores["other_factors_kept"] == scores["all_factors_right"] == 1
    assert scores["kept_per_factor"] == [None]
