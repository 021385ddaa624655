"""Interventions on latents with a known generator."""

import numpy as np
import pytest

from cdis.metrics.arrays import UnsuitableData
from cdis.metrics.generativeness import extreme_interventions, interventional_scores

#: 0 -> 1; 2 is isolated.
GRAPH = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 0]])
LATENTS = np.random.default_rng(0).random((40, 3))
LATENTS[0], LATENTS[1] = 0, 1


def test_a_perfect_generator():
    def generate(latents, dimension):
        images = latents.copy()
        if dimension == 0:  # the intervention propagates to the child
            images[:, 1] = (latents[:, 0] + latents[:, 1]) / 2
        return images

    low, high = extreme_interventions(LATENTS, generate, lambda images: images)
    assert low.shape == high.shape == (3, 40, 3)
    scores = interventional_scores(low, high, GRAPH)
    assert scores["robustness"] == 1 and scores["own_generativeness"] == 1
    assert scores["child_generativeness"] == pytest.approx(0.5)
    assert scores["per_latent_robustness"] == [1, 1, 1]


def test_an_entangled_generator():
    def generate(latents, dimension):
        return np.repeat(latents.mean(1, keepdims=True), 3, 1)

    scores = interventional_scores(
        *extreme_interventions(LATENTS, generate, lambda images: images), GRAPH
    )
    assert scores["robustness"] == pytest.approx(2 / 3)
    assert scores["own_generativeness"] == pytest.approx(1 / 3)


def test_opposite_changes_cancel_in_the_lower_bound_only():
    low, high = np.zeros((1, 4, 1)), np.zeros((1, 4, 1))
    low[0, :2], high[0, 2:] = 1, 1
    scores = interventional_scores(low, high, np.zeros((1, 1)))
    assert scores["shift_upper"] == [[1]] and scores["shift_lower"] == [[0]]
    assert scores["robustness"] is None and scores["child_generativeness"] is None


@pytest.mark.parametrize(
    ("low", "high", "adjacency"),
    [
        (np.zeros((3, 4, 3)), np.zeros((3, 5, 3)), GRAPH),
        (np.zeros((2, 4, 3)), np.zeros((2, 4, 3)), GRAPH),
        (np.zeros((3, 4, 3)), np.full((3, 4, 3), 1.5), GRAPH),
        (np.zeros((3, 4, 3)), np.full((3, 4, 3), np.nan), GRAPH),
        (np.zeros((3, 4, 3)), np.zeros((3, 4, 3)), GRAPH + GRAPH.T),
        (np.zeros((3, 0, 3)), np.zeros((3, 0, 3)), GRAPH),
    ],
)
def test_refuses(low, high, adjacency):
    with pytest.raises(UnsuitableData):
        interventional_scores(low, high, adjacency)
