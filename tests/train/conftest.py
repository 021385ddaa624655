"""The toy's data, and one run of it that nothing interrupted."""

import sys
from pathlib import Path

import pytest
import toy_method

from cdis import data
from cdis.train.loop import train

sys.path.insert(0, str(Path(__file__).parent))  # for toy_runs.py


@pytest.fixture(autouse=True)
def _toy_data(monkeypatch):
    monkeypatch.setattr(data, "load", toy_method.load)


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory):
    """(workdir, last state); not to be written to."""
    workdir = tmp_path_factory.mktemp("uninterrupted") / "run"
    toy_method.traces.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", toy_method.load)
        return workdir, train(toy_method.get_config(), workdir)
