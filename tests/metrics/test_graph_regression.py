"""Estimated counterfactuals against those of known mechanisms."""

import numpy as np
import pytest

from cdis.metrics import graph_regression
from cdis.metrics.arrays import UnsuitableData

# 0 -> 2 <- 1, and 2 -> 3.
GRAPH = ((0, 0, 0, 0), (0, 0, 0, 0), (1, 1, 0, 0), (0, 0, 1, 0))
NUMBERS = (False,) * 4


def _linear(a, b):
    return 3 * a - 2 * b


def _curved(a, b):
    return np.sin(2 * a) * b + a**2


def _draw(mechanism, noise, n=500, seed=0):
    a, b, r, s = np.random.default_rng(seed).uniform(-1, 1, (4, n))
    c = mechanism(a, b) + noise * r
    return np.stack([a, 10 + b, c, 100 * c + 100 * noise * s], 1)


def _truth(mechanism, values, a):
    after = values.copy()
    after[:, 0] = a
    change = mechanism(a, values[:, 1] - 10) - mechanism(values[:, 0], values[:, 1] - 10)
    after[:, 2] += change
    after[:, 3] += 100 * change
    return after


@pytest.mark.parametrize(
    "mechanism, simple, error",
    [(_linear, True, 0.02), (_curved, False, 0.1)],
)
def test_counterfactuals_of_known_mechanisms(mechanism, simple, error):
    found = graph_regression.fit(_draw(mechanism, 0.1), GRAPH, NUMBERS)
    assert found.chosen[:2] == (None, None) and found.chosen[3] == "linear"
    assert (found.chosen[2] == "linear") == simple
    values = _draw(mechanism, 0.1, seed=1)
    before = values.copy()
    asked = np.random.default_rng(2).uniform(-1, 1, len(values))
    after, truth = found.counterfactual(values, 0, asked), _truth(mechanism, values, asked)
    np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(after[:, :2], truth[:, :2])
    for effect in (2, 3):
        wrong = np.abs(after[:, effect] - truth[:, effect]).mean() / values[:, effect].std()
        assert wrong < error
    # A value that is already there changes nothing; an effect's causes never change.
    np.testing.assert_allclose(found.counterfactual(values, 0, values[:, 0]), values, atol=1e-9)
    moved = found.counterfactual(values, 2, values[:, 2] + 1)
    np.testing.assert_array_equal(moved[:, :2], values[:, :2])
    np.testing.assert_allclose(moved[:, 3] - values[:, 3], 100, rtol=0.01)


def test_effects_may_be_listed_before_their_causes():
    values, places = _draw(_linear, 0.1, n=100), [3, 2, 0, 1]
    graph = np.array(GRAPH)[np.ix_(places, places)]
    found = graph_regression.fit(values[:, places], graph, NUMBERS)
    asked = np.random.default_rng(2).uniform(-1, 1, len(values))
    after = found.counterfactual(values[:, places], places.index(0), asked)
    expected = graph_regression.fit(values, GRAPH, NUMBERS).counterfactual(values, 0, asked)
    np.testing.assert_allclose(after, expected[:, places], rtol=1e-6)
    assert np.abs(after[:, 0] - values[:, 3]).max() > 100


def test_what_causes_explain_is_measured_on_other_rows():
    noisy = graph_regression.fit(_draw(_linear, 3.0), GRAPH, NUMBERS)
    held_out = _draw(_linear, 3.0, n=5000, seed=1)
    explained = noisy.explained(held_out)
    assert explained[:2] == [None, None]
    # The noise has 9 times the variance of a root, and the causes have 13 times.
    assert explained[2] == pytest.approx(13 / 22, abs=0.03)
    assert explained[3] == pytest.approx(22 / 31, abs=0.03)
    held_out[:, 2] = 1.0
    assert noisy.explained(held_out)[2] is None


def test_categories():
    """b is "yes" above a threshold of a number and a category, with some noise."""
    rng = np.random.default_rng(0)
    graph, kinds = ((0, 0, 0), (0, 0, 0), (1, 1, 0)), (False, True, True)

    def draw(n):
        number, kind = rng.uniform(-1, 1, n), rng.integers(0, 3, n).astype(float)
        yes = number + (kind == 2) - 0.2 + rng.logistic(0, 0.02, n) > 0
        return np.stack([number, kind, 5.0 * yes], 1)

    found = graph_regression.fit(draw(800), graph, kinds)
    values = draw(400)
    share = found.explained(values)[2]
    assert share is not None and share > 0.8
    low = found.counterfactual(values, 0, np.full(400, -0.9))
    high = found.counterfactual(values, 0, np.full(400, 0.9))
    assert low[values[:, 1] < 2, 2].max() == 0 and high[:, 2].min() == 5
    assert set(np.unique(low[:, 2])) <= {0, 5}
    third = found.counterfactual(values, 1, np.full(400, 2.0))
    assert (third[values[:, 0] > -0.6, 2] == 5).all()
    np.testing.assert_array_equal(found.counterfactual(values, 1, values[:, 1]), values)
    only = values[values[:, 2] == 5]
    constant = graph_regression.fit(only, graph, kinds)
    np.testing.assert_array_equal(constant.counterfactual(only, 0, -only[:, 0])[:, 2], only[:, 2])
    assert constant.explained(only)[2] is None


def test_missing_labels():
    values = _draw(_linear, 0.1)
    missing = values.copy()
    missing[::2, 0], missing[1::4, 3] = np.nan, np.nan
    found = graph_regression.fit(missing, GRAPH, NUMBERS)
    asked = np.zeros(len(values))
    np.testing.assert_allclose(
        found.counterfactual(values, 0, asked)[:, 2], _truth(_linear, values, asked)[:, 2], atol=0.1
    )
    missing[15:, 1] = np.nan
    with pytest.raises(UnsuitableData, match="factor 2"):
        graph_regression.fit(missing, GRAPH, NUMBERS)
