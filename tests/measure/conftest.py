"""The oracles can be imported, and trees and sampled batches are left to the tests of metrics."""

import sys
from pathlib import Path

import pytest

from cdis.measure import disentanglement

sys.path.insert(0, str(Path(__file__).parent))  # for oracles.py


@pytest.fixture(autouse=True)
def _few_scores(monkeypatch):
    monkeypatch.setattr(disentanglement, "VECTOR_SCORES", ("mig", "mcc"))
    monkeypatch.setattr(disentanglement, "CODE_SCORES", ("mig", "modularity"))
    monkeypatch.setattr(disentanglement, "CONTINUOUS_SCORES", ("sap", "mcc"))
