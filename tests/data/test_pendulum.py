"""The mechanism of Pendulum against a literal twin, and the statistics of its variants."""

import math

import numpy as np
import pytest

from cdis import data
from cdis.data.pendulum import _table


def _literal_shadow(angle: float, light: float) -> tuple[float, float]:
    """Lines through two points with the slope of the light, intersected with y = -0.5."""
    slope = math.inf if light == 10 else (20.5 - 10.5) / (light - 10)
    feet = []
    for x, y in ((10, 10.5), (10 + 9.5 * math.sin(angle), 10.5 - 9.5 * math.cos(angle))):
        feet.append(x + (-0.5 - y) / slope)
    return max(3, abs(feet[0] - feet[1])), sum(feet) / 2


def _literal_counterfactual(row, factor: int, value: float, kind: str) -> list[float]:
    row = [float(x) for x in row]
    expected = _literal_shadow(*row[:2])
    changed = row.copy()
    changed[factor] = value
    if factor < 2:
        noise = [row[2] - expected[0], row[3] - expected[1]]
        caused = _literal_shadow(*changed[:2])
        if kind == "mixed":
            independent = any(abs(e) > 1e-3 for e in noise)
            changed[2:] = row[2:] if independent else caused
        else:
            changed[2:] = [c + e for c, e in zip(caused, noise, strict=True)]
    return changed


@pytest.mark.parametrize("kind", ["clean", "noisy", "mixed"])
def test_counterfactuals_equal_a_literal_twin(kind):
    rng = np.random.default_rng(0)
    rows = _table(kind)[rng.choice(len(_table(kind)), 256, replace=False)]
    mechanism = data.mechanism(f"pendulum/{kind}")
    assert mechanism is not None
    counterfactual = mechanism.counterfactual
    for factor in range(4):
        asked = rng.permutation(_table(kind)[:, factor])[:256]
        changed = np.asarray(counterfactual(rows, factor, asked))
        literal = [
            _literal_counterfactual(row, factor, float(value), kind)
            for row, value in zip(rows, asked, strict=True)
        ]
        np.testing.assert_allclose(changed, literal, atol=2e-5)
        # Setting a factor to its present value changes nothing.
        np.testing.assert_allclose(counterfactual(rows, factor, rows[:, factor]), rows, atol=2e-5)


def test_clean_is_the_published_grid_with_its_gap_filled():
    values = _table("clean")
    assert len(values) == 84 * 88
    angles = np.arange(-40, 44) * np.pi / 200
    suns = [10 + 10 / math.tan(j * math.pi / 200) for j in range(60, 148)]
    np.testing.assert_allclose(
        values[:, 0].reshape(84, 88), np.repeat(angles, 88).reshape(84, 88), atol=1e-7
    )
    np.testing.assert_allclose(values[:, 1].reshape(84, 88)[5], suns, atol=1e-5)
    shadows = [_literal_shadow(*row) for row in values[::97, :2].astype(float)]
    np.testing.assert_allclose(values[::97, 2:], shadows, atol=1e-5)
    # In full precision: hardly any label is an integer.
    assert (np.abs(values[:, 3] - values[:, 3].round()) < 1e-3).mean() < 0.01
    assert 0.35 < (values[:, 2] == 3).mean() < 0.45


def test_noise_has_the_documented_size():
    values = _table("noisy").astype(float)
    noise = values[:, 2:] - np.array([_literal_shadow(*row[:2]) for row in values])
    np.testing.assert_allclose(noise.std(0), 0.5, rtol=0.02)
    np.testing.assert_allclose(noise.mean(0), 0, atol=0.015)
    assert abs(np.corrcoef(noise[:, 0], noise[:, 1])[0, 1]) < 0.025
    standard = (values[:, :2] - values[:, :2].mean(0)) / values[:, :2].std(0)
    assert np.abs(standard.T @ noise / len(noise)).max() < 0.015
    assert (np.abs(values[:, 2:] - _table("mixed")[:, 2:]) > 1e-6).mean() > 0.99
    np.testing.assert_array_equal(_table("noisy")[:, :2], _table("mixed")[:, :2])


def test_a_third_of_the_mixed_shadows_are_independent_of_their_causes():
    values = _table("mixed").astype(float)
    caused = np.array([_literal_shadow(*row[:2]) for row in values])
    apart = np.abs(values[:, 2:] - caused).max(1) > 1e-3
    assert abs(apart.mean() - 0.3) < 0.01
    free, causes = values[apart][:, 2:], values[apart][:, :2]
    assert (free >= [3, 3]).all() and (free <= [12, 18]).all()
    np.testing.assert_allclose(free.mean(0), [7.5, 10.5], atol=0.15)
    correlation = np.corrcoef(np.concatenate([causes, free], 1), rowvar=False)
    np.testing.assert_allclose(correlation, np.eye(4), atol=0.05)
