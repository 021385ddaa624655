"""The toy data, an uninterrupted run on it, and a method with two objectives."""

import importlib
import sys
from pathlib import Path

import pytest
import toy_method

from cdis import data
from cdis.training.loop import train

sys.path.insert(0, str(Path(__file__).parent))  # for toy_runs.py


@pytest.fixture(autouse=True)
def _toy_data(monkeypatch):
    monkeypatch.setattr(data, "load", toy_method.load)


@pytest.fixture
def adversarial(monkeypatch):
    """Config and method of an example with two objectives, on the toy's images."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "extend")
    config = importlib.import_module("experiment").get_config("adversarial")
    return config, importlib.import_module("adversarial").make(config, toy_method.INFO)


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory):
    """(workdir, last state); read-only."""
    workdir = tmp_path_factory.mktemp("uninterrupted") / "run"
    toy_method.traces.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", toy_method.load)
        return workdir, train(toy_method.get_config(), workdir)
