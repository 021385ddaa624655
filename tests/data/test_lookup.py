"""Data sets that a module outside cdis defines: MODULE:NAME."""

import importlib
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from cdis import data
from cdis.data import pipeline, transitions
from cdis.data.examples import of_images
from cdis.data.generated import GeneratedBuilder
from cdis.errors import UserError

ROOT = Path(__file__).parents[2]

# The builder has the name of one of ours, and so has its variant.
BARS = """
import numpy as np
import tensorflow_datasets as tfds

from cdis.data.flow import Flow
from cdis.data.generated import GeneratedBuilder
from cdis.data.grid import Factor, Grid, grid_factors, grid_values
from cdis.data.info import Info

GRIDS = {"small": 6, "coloured": 8}


class Abstract(GeneratedBuilder):
    pass


class Bars(Abstract):
    name = "sprites2d"
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in GRIDS]

    @classmethod
    def facts(cls, config):
        side = GRIDS[config.name]
        return Info(
            name=f"bars/{config.name}",
            factor_names=("x", "height"),
            factor_sizes=(side, side),
            circular=(False, False),
            image_shape=(8, 8, 1),
            licence="",
            citation="",
            description="A bar.",
        )

    @classmethod
    def examples(cls, config, index):
        side = GRIDS[config.name]
        values = tuple(float(value) for value in range(side))
        grid = Grid((Factor("x", values), Factor("height", values)), (8, 8, 1))
        factors = grid_factors(grid, index)
        images = np.zeros((len(index), 8, 8, 1), np.uint8)
        for image, (x, height) in zip(images, factors):
            image[: height + 1, x] = 255
        return images, factors, grid_values(grid, factors)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Iterator[Path]:
    """The current folder, whose modules are forgotten afterwards."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    importlib.invalidate_caches()
    yield tmp_path / "here"
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(sys.modules[name]):
            del sys.modules[name]


@pytest.fixture
def bars(folder) -> Path:
    (folder / "my_bars.py").write_text(BARS)
    return folder


def test_a_data_set_of_a_module(bars, tmp_path, capsys):
    home = str(tmp_path / "data")
    info = data.info("my_bars:bars/small")
    assert info.name == "my_bars:bars/small" and info.num_images == 36
    assert data.mechanism(info.name) is None
    assert data.prepared(info.name, home) is None
    dataset = data.load(info.name, home)
    assert dataset.info == info
    assert f"Preparing my_bars:bars/small in {home}/modules/my_bars" in capsys.readouterr().err
    builder, config = data.find(info.name)
    assert issubclass(builder, GeneratedBuilder)
    images, factors, values = builder.examples(config, np.arange(36))
    np.testing.assert_array_equal(dataset.images, images)
    np.testing.assert_array_equal(dataset.factors, factors)
    np.testing.assert_array_equal(dataset.values, values)
    assert data.prepared(info.name, home) is not None
    # Not in the place of our own data set of the same name.
    data.prepare("my_bars:bars/coloured", home)
    assert data.prepared("sprites2d/coloured", home) is None
    assert "my_bars" not in " ".join(data.names())


def test_the_same_module_may_be_imported_twice(bars, tmp_path):
    first = data.load("my_bars:bars/small", str(tmp_path / "data"))
    (bars / "my_bars.py").write_text(BARS.replace("255", "100") + "# of another length\n")
    del sys.modules["my_bars"]
    importlib.invalidate_caches()
    again = data.load("my_bars:bars/small", str(tmp_path / "other"))
    np.testing.assert_array_equal(again.images // 100, first.images // 255)


def test_the_name_may_be_left_out_of_a_module_with_one_variant(folder):
    (folder / "my_one.py").write_text(BARS.replace(', "coloured": 8', ""))
    assert data.info("my_one:").name == "my_one:bars/small"


def test_a_module_of_a_package(folder):
    (folder / "my_package").mkdir()
    (folder / "my_package" / "sets.py").write_text(BARS.replace("small", "default"))
    assert data.info("my_package.sets:bars").name == "my_package.sets:bars/default"


def test_records_of_a_module_can_be_sent_to_another_process(bars, tmp_path):
    dataset = data.load("my_bars:bars/small", str(tmp_path / "data"), "records")
    sent = pickle.dumps(dataset.images)
    program = (
        "import pickle, sys; sys.path.append(sys.argv[1])\n"
        "images = pickle.loads(bytes.fromhex(sys.argv[2]))\n"
        "print(images[:].tobytes().hex())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(bars), sent.hex()],
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == dataset.images[:].tobytes().hex()


@pytest.mark.slow
def test_worker_processes_decode_records_of_a_module(bars, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "_BEFORE_WORKERS", 0)
    images = data.load("my_bars:bars/small", str(tmp_path / "data"), "records").images
    rows, settings = of_images(np.arange(36)), {"batch_size": 8, "seed": 0, "num_batches": 5}
    streams = [
        pipeline.batches({"image": images}, rows, workers=workers, **settings) for workers in (1, 0)
    ]
    with closing(iter(streams[0])) as one, closing(iter(streams[1])) as other:
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a["x"]["image"], b["x"]["image"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my_brs:bars/small", "module that does not exist, 'my_brs'. Put my_brs.py in the current"),
        (":small", "module that does not exist, ''"),
        (".my_bars:small", "module that does not exist, '.my_bars'"),
        ("sys:path", r"'sys' \(built-in\) defines no data set.*GeneratedBuilder"),
        (
            "my_bars:bars/smal",
            "'my_bars:bars/smal' .did you mean 'my_bars:bars/small'... The module",
        ),
        ("my_bars:", "Unknown data set 'my_bars:'.*defines my_bars:bars/small, my_bars:bars/colou"),
        ("my_bars", r"Unknown data set 'my_bars'.*MODULE:NAME for a data set that a Python module"),
    ],
)
def test_unknown_modules_and_names_are_reported(name, said, bars):
    with pytest.raises(UserError, match=said):
        data.info(name)


def test_the_example_of_the_documentation(folder, tmp_path):
    text = (ROOT / "cdis" / "data" / "own_data.md").read_text()
    (code,) = re.findall(r"```python\n(# my_data.py\n.*?)```", text, re.DOTALL)
    (folder / "my_data.py").write_text(code)
    dataset = data.load("my_data:bars/small", str(tmp_path / "data"))
    assert dataset.info == data.info("my_data:") and len(dataset.images) == 32 * 24 * 3
    for i in (0, 700, 2303):
        x, height, grey = dataset.values[i].astype(int)
        assert dataset.images[i].sum() == height * grey and (dataset.images[i, :, x] > 0).any()
    assert len(transitions.build(dataset.factors, dataset.info, dataset.splits["train"]).x) > 1000


def test_errors_inside_a_module_are_passed_on(folder):
    (folder / "my_broken.py").write_text("import surely_not_installed")
    with pytest.raises(ModuleNotFoundError, match="surely_not_installed"):
        data.info("my_broken:bars")


def test_importing_the_package_imports_no_builder_and_no_jax():
    program = (
        "import sys, cdis.data, cdis.data.examples, cdis.data.transitions\n"
        "print(sorted({'jax', 'tensorflow_datasets', 'grain', 'matplotlib', 'PIL'} "
        "& set(sys.modules)))\n"
        "cdis.data.info('sprites2d/coloured')\n"
        "print('cdis.data.rooms3d' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == ["[]", "False"]
