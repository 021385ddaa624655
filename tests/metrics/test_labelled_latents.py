"""Scores of labelled latents that are perfect, or wrong in a known way."""

import numpy as np
import pytest

from cdis.metrics.labelled_latents import labelled_latents


@pytest.fixture(scope="module")
def values():
    rng = np.random.default_rng(0)
    cause, noise = rng.normal(size=(2, 4000))
    return np.stack([cause, 0.8 * cause + 0.6 * noise], 1)


def test_perfect_latents(values):
    # Each latent is its factor in another unit, the second with the opposite sign.
    scores = labelled_latents(values * [3.0, -0.5] + 7, values)
    np.testing.assert_allclose(scores["r2"], 1)
    assert scores["r2_worst"] == pytest.approx(1) and scores["mcc"] == pytest.approx(1)
    assert scores["off_diagonal"] == pytest.approx(0, abs=1e-9)


def test_noise_and_mixing(values):
    noise = np.random.default_rng(1).normal(size=len(values))
    # Latent 0 has as much noise as signal; latent 1 lacks the part shared with factor 0.
    latents = np.stack([values[:, 0] + noise, values[:, 1] - 0.8 * values[:, 0]], 1)
    scores = labelled_latents(latents, values)
    np.testing.assert_allclose(scores["r2"], [0.5, 0.36], atol=0.03)
    assert scores["r2_worst"] == min(scores["r2"])
    np.testing.assert_allclose(scores["mcc"], (np.sqrt(0.5) + 0.6) / 2, atol=0.03)
    expected = np.array([[1, 0.8], [0, 0.6]]) * [[np.sqrt(0.5)], [1]]
    np.testing.assert_allclose(scores["correlation"], expected, atol=0.03)
    assert scores["off_diagonal"] == pytest.approx(0.8, abs=0.03)


def test_dead_latents_explain_nothing(values):
    scores = labelled_latents(np.zeros_like(values), values)
    assert scores["r2"] == [0, 0] and scores["mcc"] == 0
