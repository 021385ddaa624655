"""The scripts in tools/, and the pinned versions that they install."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SCRIPTS = [
    "tools/quickstart",
    "tools/install",
    "tools/test",
    "tools/relock",
    "tools/benchmark",
    "tools/benchmark_data",
    "tools/compare_graphs",
    "tools/learning_curves",
]


def run(*command):
    return subprocess.run(command, cwd="/", capture_output=True, text=True)


def lock(name):
    """Package -> (pinned version, hashes) from a file in tools/lock."""
    text = (ROOT / f"tools/lock/{name}.txt").read_text()
    entries = re.split(r"\n(?=\S)", re.sub(r"(?m)^#.*\n", "", text).strip())
    found = {}
    for entry in entries:
        requirement = Requirement(entry.split("\\")[0])
        (pin,) = requirement.specifier
        assert pin.operator == "=="
        found[canonical(requirement.name)] = (
            pin.version,
            re.findall(r"--hash=sha256:\w{64}", entry),
        )
    return found


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("script", SCRIPTS)
def test_help(script):
    done = run(ROOT / script, "--help")
    assert done.returncode == 0 and done.stdout.startswith(f"Usage: {script}"), done.stderr


@pytest.mark.parametrize("script", ["tools/quickstart", "tools/install", "tools/relock"])
def test_unknown_argument(script):
    done = run(ROOT / script, "--nonsense")
    assert done.returncode == 2 and f"Usage: {script}" in done.stdout + done.stderr


def test_install_says_that_python_is_too_old(tmp_path):
    for part in ("tools/install", "tools/lock/run.txt", "tools/lock/build.txt", "pyproject.toml"):
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part).write_bytes((ROOT / part).read_bytes())
    old = tmp_path / "old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = run("env", f"PYTHON={old}", "bash", tmp_path / "tools/install")
    assert done.returncode == 1 and "is not a Python 3.11 or newer" in done.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("name", ["build", "run", "test"])
def test_lock_has_a_hash_for_every_package(name):
    assert all(hashes for _, hashes in lock(name).values())


def test_lock_names_no_host():
    for path in (ROOT / "tools/lock").glob("*.txt"):
        assert "://" not in path.read_text()


def test_run_and_test_lock_agree():
    run_lock, test_lock = lock("run"), lock("test")
    assert run_lock.items() <= test_lock.items()


@pytest.mark.parametrize("name", ["test", "lowest"])
def test_lock_is_in_step_with_pyproject(name):
    """If this fails, run tools/relock."""
    locked = lock(name)
    wanted = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
    for requirement in map(Requirement, wanted):
        version, _ = locked[canonical(requirement.name)]
        assert requirement.specifier.contains(version), requirement
        if name == "lowest":
            (bound,) = requirement.specifier
            exact = Version(bound.version).release
            assert bound.operator == ">=" and Version(version).release[: len(exact)] == exact
