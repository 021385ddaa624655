"""Which scores evaluation chooses, and representations that cannot be scored."""

import jax.numpy as jnp
import pytest
from oracles import STEP, measured, oracle

from cdis.measure import disentanglement
from cdis.methods.base import Codes, Method


def test_representations_that_cannot_be_scored_say_why(monkeypatch):
    def collapsed(variables, images, values=None):
        return {"vectors": jnp.zeros((len(images), 2, 2)), "codes": images[:, 0, :3, 0] // STEP}

    metrics, _ = measured(Method(oracle().init, (), encode=collapsed))
    assert "constant" in metrics["disentanglement"]["vectors"]["reason"]
    assert metrics["disentanglement"]["codes"]["metrics"]["mig"]["scores"]["score"] > 0.99
    monkeypatch.setattr(disentanglement, "MAX_SCORED_DIMENSIONS", 2)
    metrics, _ = measured(Method(oracle().init, (), encode=collapsed))
    assert "3 dimensions" in metrics["disentanglement"]["codes"]["reason"]


@pytest.mark.slow
def test_the_scores_that_evaluation_chooses(monkeypatch):
    monkeypatch.undo()
    metrics, _ = measured(Method(oracle().init, (), encode=oracle().encode, codes=Codes(8, 4)))
    for name in ("vectors", "codes"):
        for score in metrics["disentanglement"][name]["metrics"].values():
            assert "scores" in score, score.get("reason")
