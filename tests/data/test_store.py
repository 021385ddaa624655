"""Preparing, loading, and faults of files."""

import contextlib
import dataclasses
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow_datasets.core import shuffle
from tiny_store import TINY, tiny_store

from cdis import data
from cdis.data import builder, pendulum, store
from cdis.data.builder import SPLITS, split_of
from cdis.data.sprites2d import Factor, Sprites2d, Variant, grid_examples, grid_factors
from cdis.data.store import Store
from cdis.errors import UserError

HERE = Path(__file__).parent
COUNT = 96


def _expected() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    factors = grid_factors(TINY.grid, np.arange(COUNT))
    images, values = grid_examples(TINY.grid, factors)
    return images, factors, values


def _check(dataset: data.Dataset) -> None:
    images, factors, values = _expected()
    np.testing.assert_array_equal(dataset.images, images)
    np.testing.assert_array_equal(dataset.factors, factors)
    np.testing.assert_array_equal(dataset.values, values, strict=True)
    for number, name in enumerate(SPLITS):
        np.testing.assert_array_equal(
            dataset.splits[name], np.flatnonzero(split_of(COUNT, 0) == number)
        )


def _environment() -> dict[str, str]:
    root = HERE.parent.parent
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{HERE}", "JAX_PLATFORMS": "cpu"}


def _start(program: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    data_dir = tmp_path_factory.mktemp("prepared")
    tiny_store(data_dir).prepare()
    return data_dir


@pytest.fixture
def data_dir(prepared, tmp_path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "data"))


def _version(data_dir: Path) -> Path:
    return data_dir / "sprites2d" / "tiny" / "1.0.0"


def _record(data_dir: Path) -> Path:
    return next(_version(data_dir).glob("*train*array_record*"))


# Loading


def test_many_record_files_need_no_tensorflow(tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "_SHARD_BYTES", 20 * 32 * 32)
    # tfds shuffles with TensorFlow what exceeds so many bytes.
    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 0)
    store = tiny_store(tmp_path)
    for feed in ("decoded", "records"):
        dataset = store.load(feed)
        _check(dataclasses.replace(dataset, images=dataset.images[:]))
    path = tmp_path / "sprites2d" / "tiny" / "1.0.0"
    for name, most in zip(SPLITS, (67, 14, 15), strict=True):
        assert len(dataset.splits[name]) == most
        assert len(list(path.glob(f"*-{name}.array_record-*"))) == -(-most // 20)


def test_load_prepares_what_is_missing(tmp_path, capsys, monkeypatch):
    # Progress messages of slow machines have their own tests.
    monkeypatch.setattr("cdis.data.progress._SECONDS", float("inf"))
    dataset = tiny_store(tmp_path).load()
    _check(dataset)
    assert dataset.images.dtype == np.uint8 and not dataset.images.flags.writeable
    assert type(dataset.images) is np.ndarray
    assert dataset.factors.dtype == np.int32
    assert dataset.splits["train"].dtype == np.int64
    assert [len(dataset.splits[name]) for name in SPLITS] == [67, 14, 15]
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"Preparing sprites2d/tiny in {tmp_path}\n"


def test_prepared_once(data_dir, capsys, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in data_dir.rglob("*")}
    tiny_store(data_dir).prepare()
    monkeypatch.setattr(Store, "_decode", lambda *_: pytest.fail("decoded again"))
    _check(tiny_store(data_dir).load())
    assert {path: path.stat().st_mtime_ns for path in data_dir.rglob("*")} == before
    assert capsys.readouterr().err == ""


def test_records_hold_values_too(prepared):
    builder: Any = Sprites2d(data_dir=prepared, config=TINY)
    example = builder.as_data_source("validation")[3]
    factors = grid_factors(TINY.grid, np.array([example["index"]]))
    images, values = grid_examples(TINY.grid, factors)
    np.testing.assert_array_equal(example["image"], images[0])
    np.testing.assert_array_equal(example["factors"], factors[0])
    np.testing.assert_array_equal(example["values"], values[0])
    assert example["factors"].dtype == np.int32 and example["values"].dtype == np.float32


def test_splits_are_permanent():
    assert split_of(20, 0).tolist() == [0, 0, 0, 0, 0, 0, 2, 2, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 2, 0]
    counts = np.bincount(split_of(4608, 0))
    assert counts.tolist() == [3226, 691, 691]
    assert (split_of(4608, 0) != split_of(4608, 1)).any()


# Killed processes, and several at once


def test_a_killed_preparation_leaves_nothing_that_looks_complete(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from tiny_store import Sprites2d, tiny_store\n"
        "render = Sprites2d.examples.__func__\n"
        "def examples(cls, config, index):\n"
        "    Path(sys.argv[2]).touch() if len(index) < 20 else None\n"
        "    time.sleep(60 if len(index) < 20 else 0)\n"
        "    return render(cls, config, index)\n"
        "Sprites2d.examples = classmethod(examples)\n"
        "tiny_store(Path(sys.argv[1])).prepare()"
    )
    data_dir, second_split = tmp_path / "data", tmp_path / "second_split"
    process = _start(program, data_dir, second_split)
    deadline = time.monotonic() + 120
    while not second_split.exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    home = _version(data_dir).parent
    assert not _version(data_dir).exists()
    assert list(home.glob("incomplete.*"))

    _check(tiny_store(data_dir).load())
    assert not list(home.glob("incomplete.*"))


def test_a_killed_decoding_restarts(data_dir):
    version = _version(data_dir)
    (version / "decoded").rename(version / "decoded.incomplete")
    (version / "decoded.incomplete" / "about.json").unlink()
    _check(tiny_store(data_dir).load())
    assert not (version / "decoded.incomplete").exists()


def test_two_processes_prepare_at_once_and_without_tensorflow(tmp_path):
    program = (
        "import sys; from pathlib import Path; from tiny_store import tiny_store\n"
        "import cdis.data.pipeline, cdis.data.show\n"
        "tiny_store(Path(sys.argv[1])).load()\n"
        "assert 'tensorflow' not in sys.modules and 'tensorflow_datasets' in sys.modules"
    )
    processes = [_start(program, tmp_path) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert [out for out, _ in outputs] == ["", ""]
    assert "".join(err for _, err in outputs) == f"Preparing sprites2d/tiny in {tmp_path}\n"
    _check(tiny_store(tmp_path).load())


# Damage


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _cut_the_end(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 10)


def _overwrite(path: Path) -> None:
    path.write_bytes(b"\xff" * path.stat().st_size)


@pytest.mark.parametrize(
    "harm, cached",
    [
        (_truncate, True),
        (_truncate, False),
        (_cut_the_end, False),
        (_overwrite, False),
        (Path.unlink, True),
        (Path.unlink, False),
    ],
)
def test_damaged_records_are_reported(data_dir, harm, cached):
    if not cached:
        shutil.rmtree(_version(data_dir) / "decoded")
    harm(_record(data_dir))
    with pytest.raises(
        UserError, match=r"incomplete or damaged .*cdis data prepare sprites2d/tiny"
    ):
        tiny_store(data_dir).load()
    with pytest.raises(UserError, match=r"Delete that folder"):
        tiny_store(data_dir).prepare()


@pytest.mark.parametrize("text", [None, "", "{"])
def test_a_folder_without_its_description_is_reported(data_dir, text):
    shutil.rmtree(_version(data_dir) / "decoded")
    about = _version(data_dir) / "dataset_info.json"
    about.unlink() if text is None else about.write_text(text)
    with pytest.raises(UserError, match="incomplete or damaged"):
        tiny_store(data_dir).load()


def test_an_empty_folder_is_reported(tmp_path):
    _version(tmp_path).mkdir(parents=True)
    with pytest.raises(UserError, match="incomplete or damaged"):
        tiny_store(tmp_path).load()


@pytest.mark.parametrize(
    "shapes, why", [(4, "images are missing"), (2, "occurs twice or has an impossible number")]
)
def test_records_of_another_grid_are_reported(data_dir, shapes, why):
    factors = (Factor("shape", (0.0,) * shapes), *TINY.grid.factors[1:])
    other = Variant(name="tiny", grid=TINY.grid._replace(factors=factors))
    shutil.rmtree(_version(data_dir) / "decoded")
    with pytest.raises(UserError, match=why):
        Store(Sprites2d, other, data_dir).load()


@pytest.mark.parametrize(
    "name", ["images.npy", "factors.npy", "values.npy", "split.npy", "about.json"]
)
@pytest.mark.parametrize("harm", [_truncate, _overwrite, Path.unlink])
def test_a_broken_decoded_copy_is_rewritten(data_dir, name, harm):
    harm(_version(data_dir) / "decoded" / name)
    _check(tiny_store(data_dir).load())
    assert (_version(data_dir) / "decoded" / name).exists()


def test_a_decoded_copy_of_other_records_is_rewritten(data_dir):
    folder = _version(data_dir) / "decoded"
    about = json.loads((folder / "about.json").read_text())
    (folder / "about.json").write_text(json.dumps({**about, "records": {}}))
    _check(tiny_store(data_dir).load())
    assert json.loads((folder / "about.json").read_text()) == about


def test_a_decoded_copy_of_an_older_cdis_is_rewritten(data_dir, capsys):
    """Without values, and with a checksum of factors and splits only."""
    folder = _version(data_dir) / "decoded"
    new = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "values.npy").unlink()
    images, factors, split = (np.load(folder / f"{n}.npy") for n in ("images", "factors", "split"))
    labels = zlib.crc32(factors.tobytes(), zlib.crc32(split.tobytes()))
    about = json.loads((folder / "about.json").read_text())
    about["checksum"] = zlib.crc32(images.tobytes(), labels)
    (folder / "about.json").write_text(json.dumps(about))
    _check(tiny_store(data_dir).load())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == new
    assert capsys.readouterr().err == ""


def test_continuous_factors_are_stored_in_full_precision(tmp_path, monkeypatch):
    """On a hundred images of a pendulum."""
    full = pendulum._table("noisy")
    monkeypatch.setattr(pendulum, "_table", lambda kind: full[:100])
    variant = next(c for c in pendulum.Pendulum.BUILDER_CONFIGS if c.name == "noisy")
    dataset = Store(pendulum.Pendulum, variant, tmp_path).load()
    np.testing.assert_array_equal(dataset.values, full[:100], strict=True)
    render = pendulum.Pendulum.mechanism(variant).render
    assert render is not None
    np.testing.assert_array_equal(dataset.images, render(full[:100]))
    assert dataset.factors.shape == (100, 4) and not dataset.factors.any()
    assert sorted(np.concatenate(list(dataset.splits.values()))) == list(range(100))


# Directories that are not writable


def test_a_data_directory_that_is_a_file_is_reported(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"could not be prepared in .*--data_dir or the env"):
        tiny_store(tmp_path / "file").prepare()
    assert (tmp_path / "file").read_text() == "mine"


@contextlib.contextmanager
def _largest_file(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# A limit on file sizes stands in for a full disk: exceeded by the first file that tfds writes, by a
# record file, and by the decoded copy.
@pytest.mark.parametrize("limit", [16, 60_000, 90_000])
def test_a_full_disk_is_reported(tmp_path, limit):
    _expected()  # compiles the renderer, which may write files of its own
    with (
        _largest_file(limit),
        pytest.raises(UserError, match=r"^sprites2d/tiny could not be prepared .*Free disk"),
    ):
        tiny_store(tmp_path).prepare()
    assert not list(tmp_path.rglob("incomplete.*")) and not list(tmp_path.rglob("decoded*"))
    _check(tiny_store(tmp_path).load())


def test_a_read_only_folder_is_decoded_into_memory(data_dir, monkeypatch, caplog):
    shutil.rmtree(_version(data_dir) / "decoded")

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(store, "locked", refuse)
    _check(tiny_store(data_dir).load())
    assert "is decoded at every start" in caplog.text
    with pytest.raises(UserError, match="Permission denied"):
        tiny_store(data_dir).prepare()
    shutil.rmtree(_version(data_dir))
    with pytest.raises(UserError, match="Permission denied"):
        tiny_store(data_dir).load()


# Names and places


def test_unknown_names_are_reported_with_the_nearest():
    for call in (data.load, data.prepare, data.info):
        with pytest.raises(UserError, match=r"did you mean 'sprites2d/coloured'.*dsprites_grid"):
            call("sprites2d/colored")


@pytest.mark.parametrize("variable", ["CDIS_DATA_DIR", "TFDS_DATA_DIR", None])
def test_where_data_is_kept(variable, tmp_path, monkeypatch):
    monkeypatch.delenv("CDIS_DATA_DIR", raising=False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "not_this_one"))
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "file"))
    (tmp_path / "file").touch()
    given = None if variable else str(tmp_path / "file")
    with pytest.raises(UserError, match=f"prepared in {tmp_path / 'file'}:"):
        data.prepare("sprites2d/coloured", given)
