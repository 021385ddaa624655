"""The mechanism of Flow against a literal twin, and the statistics of its noise."""

import math

import numpy as np

from cdis import data
from cdis.data.flow import _table


def _literal_counterfactual(row, factor: int, value: float) -> list[float]:
    radius, height, hole, reach = (float(x) for x in row)
    poured = height - radius**3
    e = reach**2 / (2 * height * (hole - 0.5)) - 0.98
    if factor == 0:
        radius, height = value, value**3 + poured
    elif factor == 1:
        height = value
    elif factor == 2:
        hole = value
    elif factor == 3:
        return [radius, height, hole, value]
    return [radius, height, hole, math.sqrt(2 * (0.98 + e) * height * (hole - 0.5))]


def test_counterfactuals_equal_a_literal_twin():
    rng = np.random.default_rng(0)
    rows = _table()[rng.choice(len(_table()), 256, replace=False)]
    mechanism = data.mechanism("flow/default")
    assert mechanism is not None
    counterfactual = mechanism.counterfactual
    for factor in range(4):
        asked = rng.permutation(_table()[:, factor])[:256]
        changed = np.asarray(counterfactual(rows, factor, asked))
        literal = [
            _literal_counterfactual(row, factor, float(value))
            for row, value in zip(rows, asked, strict=True)
        ]
        np.testing.assert_allclose(changed, literal, atol=1e-5)
        np.testing.assert_allclose(counterfactual(rows, factor, rows[:, factor]), rows, atol=1e-5)


def test_values_are_the_published_grid_in_full_precision():
    values = _table().astype(float)
    assert len(values) == 30 * 30 * 9 == 8100
    i = 0
    for ball in range(5, 35):
        for raw in range(10, 40):
            for hole in range(6, 15):
                wanted = ball / 30, (ball / 30) ** 3 + raw / 10, hole / 3
                np.testing.assert_allclose(values[i, :3], wanted, rtol=1e-6)
                i += 1
    push = values[:, 3] ** 2 / (2 * values[:, 1] * (values[:, 2] - 0.5)) - 0.98
    assert abs(push.mean()) < 1e-3 and abs(push.std() - 0.02) < 6e-4
    assert np.abs(np.corrcoef(np.c_[values[:, :3], push].T)[3, :3]).max() < 0.04
