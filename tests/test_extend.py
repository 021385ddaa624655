"""Users add methods, data sets and measurements without editing a file of cdis.

The files in tests/extend/ are copied to an empty folder and used from there.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extend")
    for path in (ROOT / "tests" / "extend").glob("*.py"):
        shutil.copy(path, folder)
    return folder


def in_folder(folder, *command):
    """Runs a command there."""
    here = {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "CDIS_DATA_DIR": str(folder / "data")}
    return subprocess.run(
        command, cwd=folder, env=os.environ | here, capture_output=True, text=True
    )


@pytest.mark.parametrize("method", ["adversarial", "triplets"])
def test_own_method_and_data(folder, method):
    """The module of the method and that of the data set are found in the current folder."""
    flags = ("--config", f"experiment.py:{method}", "--workdir", method)
    done = in_folder(folder, sys.executable, "-m", "cdis", "train", *flags)
    assert done.returncode == 0, done.stderr
    rows = {"adversarial": "images", "triplets": "triplets"}[method]
    assert f"only: 2 steps of 8 {rows}" in done.stdout
    assert "only 2/2" in done.stdout


def test_own_measurement(folder):
    """On the run of the method with a decoder; the other one has no reconstructions."""
    program = """
from cdis.measure import evaluate, headlines
from sharpness import SHARPNESS

for workdir in ("adversarial", "triplets"):
    metrics = evaluate(workdir, measurements=(SHARPNESS,))
    print(workdir, metrics.get("sharpness"), headlines(metrics, (SHARPNESS,)))
"""
    done = in_folder(folder, sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr
    assert re.search(r"adversarial \{'ratio': \d.*sharpness +\d", done.stdout), done.stdout
    assert re.search(r"triplets None (?!.*sharpness)", done.stdout), done.stdout


def test_a_method_that_is_not_there(folder):
    """The console script looks in the current folder too, and its message names that folder."""
    script = Path(sys.executable).with_name("cdis")
    flags = ("--config", "experiment.py", "--config.method=adversarail", "--workdir", "other")
    done = in_folder(folder, script, "train", *flags)
    assert done.returncode == 2
    assert f"NAME.py in the current folder ({folder})" in done.stderr
    assert not (folder / "other").exists()
