"""A wheel, built and installed: it works without the repository."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_package_is_listed():
    """The list in pyproject.toml names each folder of Python files."""
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "cdis").rglob("*.py")}
    folders |= {
        Path("cdis", path.parent.relative_to(ROOT)) for path in ROOT.glob("experiments/*/*.py")
    }
    expected = {".".join(folder.parts) for folder in folders} | {"cdis.experiments"}
    assert sorted(expected) == SETUPTOOLS["packages"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, since setuptools leaves files behind."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("cdis", "experiments"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    _pip("wheel", "--no-build-isolation", "--wheel-dir", out, source)
    (built,) = out.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_the_experiments(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "cdis").rglob("*.py")}
    experiments = {f"cdis/{path.relative_to(ROOT)}" for path in ROOT.glob("experiments/**/*.py")}
    texts = {"cdis/data/own_data.md", "cdis/data/data_sets.md", "cdis/experiments/README.md"}
    found = {name for name in names if not name.split("/")[0].endswith(".dist-info")}
    assert found == modules | experiments | texts


@pytest.mark.slow
def test_an_installed_wheel_trains_an_experiment_by_name(wheel, tmp_path):
    """In a new environment, which borrows the packages of this one, but not the repository."""
    environment, empty = tmp_path / "environment", tmp_path / "empty"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    _pip("install", "--target", site, wheel)
    # The folders alone, so that .pth files there, such as that of an editable cdis, have no effect.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    script = environment / "bin" / "cdis"
    shutil.copy(site / "bin" / "cdis", script)
    lines = script.read_text().splitlines()
    script.write_text("\n".join([f"#!{environment}/bin/python", *lines[1:]]))
    empty.mkdir()
    here = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [script, "train", "--config", "ct_vae/quickstart:smoke", "--workdir", "w"],
        cwd=empty,
        env=here | {"CDIS_DATA_DIR": str(tmp_path / "data"), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (empty / "w" / "config.json").exists()
    where = "import cdis.config as c; print(c.__file__, c.experiments())"
    shown = subprocess.run(
        [environment / "bin" / "python", "-c", where],
        cwd=empty,
        env=here,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert all(path.startswith(str(site)) for path in shown)


def _pip(command, *arguments):
    subprocess.run(
        [sys.executable, "-m", "pip", "-q", command, "--no-deps", "--no-index", *arguments],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        check=True,
    )
