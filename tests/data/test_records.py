"""Two ways of reading images: a decoded copy, and record files. Both give the same bytes."""

import contextlib
import os
import pickle
import shutil
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_store import tiny_store

from cdis import data
from cdis.data import pipeline, store
from cdis.data.examples import IMAGES, PAIRS, of_images
from cdis.data.pipeline import batches
from cdis.data.records import Records
from cdis.data.store import Store
from cdis.errors import UserError

COUNT = 96


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A data directory with both copies."""
    data_dir = tmp_path_factory.mktemp("prepared")
    tiny_store(data_dir).load("decoded")
    tiny_store(data_dir).load("records")
    return data_dir


@pytest.fixture(scope="module")
def decoded(prepared) -> data.Dataset:
    return tiny_store(prepared).load("decoded")


@pytest.fixture(scope="module")
def recorded(prepared) -> data.Dataset:
    return tiny_store(prepared).load("records")


@pytest.fixture
def data_dir(prepared, tmp_path) -> Path:
    """A data directory with record files only."""
    copy = Path(shutil.copytree(prepared, tmp_path / "data"))
    for kind in ("decoded", "labels"):
        shutil.rmtree(_version(copy) / kind)
    return copy


def _version(data_dir: Path) -> Path:
    return data_dir / "sprites2d" / "tiny" / "1.0.0"


def _same(found: data.Dataset, expected: data.Dataset) -> None:
    np.testing.assert_array_equal(found.images[:], expected.images)
    np.testing.assert_array_equal(found.factors, expected.factors, strict=True)
    np.testing.assert_array_equal(found.values, expected.values, strict=True)
    for name, index in expected.splits.items():
        np.testing.assert_array_equal(found.splits[name], index, strict=True)


# The images


def test_records_are_indexed_like_the_decoded_copy(recorded, decoded):
    assert isinstance(recorded.images, Records)
    assert recorded.images.shape == decoded.images.shape == (COUNT, 32, 32, 1)
    assert len(recorded.images) == COUNT and recorded.images.ndim == 4
    assert recorded.images.dtype == np.uint8
    _same(recorded, decoded)
    rng = np.random.default_rng(0)
    for index in (
        5,
        np.int64(95),
        -1,
        slice(3, 40, 5),
        rng.integers(0, COUNT, 20),
        rng.integers(0, COUNT, (2, 3)),
        np.array([], np.int64),
    ):
        found = recorded.images[index]
        np.testing.assert_array_equal(found, decoded.images[index], strict=True)
        assert type(found) is np.ndarray
    with pytest.raises(IndexError):
        recorded.images[COUNT]


def test_records_can_be_sent_to_another_process(recorded, decoded):
    recorded.images[[3, 5]]
    sent = pickle.dumps(recorded.images)
    assert len(sent) < 5000
    np.testing.assert_array_equal(pickle.loads(sent)[[7, 1]], decoded.images[[7, 1]])


def test_damaged_records_are_reported(data_dir):
    images = tiny_store(data_dir).load("records").images
    for record in _version(data_dir).glob("*array_record*"):
        record.write_bytes(b"\xff" * record.stat().st_size)
    with pytest.raises(UserError, match=r"sprites2d/tiny .*incomplete or damaged"):
        images[:]
    with pytest.raises(UserError, match=r"sprites2d/tiny .*incomplete or damaged"):
        images[3]


# Batches


def _batches(dataset: data.Dataset, *, pairs: bool = False, **settings) -> list:
    index = dataset.splits["train"]
    rows = (PAIRS if pairs else IMAGES).find(dataset, index)
    columns = {"image": dataset.images, "values": dataset.values}
    stream = batches(columns, rows, seed=1, batch_size=8, num_batches=20, **settings)
    with closing(iter(stream)) as iterator:
        return list(iterator)


def _equal(found: list, expected: list) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert set(one) == set(other)
        for side in set(one) - {"action"}:
            for name in ("image", "values"):
                np.testing.assert_array_equal(one[side][name], other[side][name], strict=True)
        if "action" in one:
            np.testing.assert_array_equal(one["action"], other["action"], strict=True)


@pytest.mark.parametrize("settings", [{}, {"start": 13}, {"process_index": 1, "process_count": 2}])
@pytest.mark.parametrize("pairs", [False, True])
def test_same_batches_from_records(settings, pairs, recorded, decoded):
    expected = _batches(decoded, pairs=pairs, **settings)
    assert len(expected) == 20 - settings.get("start", 0)
    _equal(_batches(recorded, pairs=pairs, workers=0, **settings), expected)


@pytest.mark.parametrize(
    ("workers", "settings"),
    [
        (2, {"pairs": True, "start": 3}),
        pytest.param(1, {}, marks=pytest.mark.slow),
        pytest.param(3, {"start": 13, "process_count": 2}, marks=pytest.mark.slow),
    ],
)
def test_same_batches_from_processes(workers, settings, recorded, decoded, monkeypatch):
    monkeypatch.setattr(pipeline, "_BEFORE_WORKERS", 3)  # batches made by threads
    _equal(_batches(recorded, workers=workers, **settings), _batches(decoded, **settings))


def test_processes_serve_records_and_threads_serve_arrays(recorded, decoded, monkeypatch):
    asked = []
    kind = type(batches({}, of_images(np.arange(4)), batch_size=2, seed=0, num_batches=1))
    monkeypatch.setattr(kind, "mp_prefetch", lambda self, options, **_: asked.append(options))
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    rows, settings = (
        of_images(decoded.splits["train"]),
        {"batch_size": 8, "seed": 0, "num_batches": 2000},
    )
    assert batches({"image": decoded.images}, rows, **settings) is not None
    assert batches({"image": recorded.images}, rows, **settings, workers=0) is not None
    # The run ends before a process has started.
    assert batches({"image": recorded.images}, rows, **settings, start=1990) is not None
    assert asked == []
    batches({"image": recorded.images}, rows, **settings)
    batches({"image": recorded.images}, rows, **settings, workers=2)
    assert [options.num_workers for options in asked] == [3, 2]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_far_step_of_records_is_reached_at_once(workers, recorded):
    columns, rows = {"image": recorded.images}, of_images(recorded.splits["train"])
    settings = {"batch_size": 8, "seed": 0, "num_batches": 10**9, "workers": workers}
    start = time.perf_counter()
    with closing(iter(batches(columns, rows, start=10**9 - 500, **settings))) as iterator:
        batch = next(iterator)
        assert time.perf_counter() - start < 1
    assert batch["x"]["image"].shape == (8, 32, 32, 1)


def test_reading_records_leaves_the_standard_output_alone(prepared, monkeypatch):
    # Threads cannot safely redirect the output of the whole process.
    images = tiny_store(prepared).load("records").images
    monkeypatch.setattr(contextlib, "redirect_stdout", lambda *_: pytest.fail("redirected"))
    assert images[:].any()


_ENDS_WITH_BATCHES = """
import sys
from pathlib import Path
import numpy as np
from tiny_store import tiny_store
from cdis.data import pipeline
from cdis.data.examples import of_images

pipeline._BEFORE_WORKERS = 0
images = tiny_store(Path(sys.argv[1])).load("records").images
settings = {"batch_size": 64, "seed": 0, "num_batches": 100, "workers": 1}
iterator = iter(pipeline.batches({"image": images}, of_images(np.arange(90)), **settings))
held = [next(iterator) for _ in range(3)]
print(type(held[0]["x"]["image"]).__name__)
"""


@pytest.mark.slow
def test_batches_in_use_at_the_end_cause_no_warnings(prepared):
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", _ENDS_WITH_BATCHES, prepared],
        env={**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "SharedMemoryArray\n", done.stderr
    assert "leaked" not in done.stderr


@pytest.mark.slow
def test_an_error_in_a_worker_process_is_raised_here(data_dir, monkeypatch):
    monkeypatch.setattr(pipeline, "_BEFORE_WORKERS", 0)
    images = tiny_store(data_dir).load("records").images
    for record in _version(data_dir).glob("*array_record*"):
        record.write_bytes(b"\xff" * record.stat().st_size)
    stream = batches(
        {"image": images}, of_images(np.arange(50)), batch_size=8, seed=0, num_batches=5, workers=1
    )
    with closing(iter(stream)) as iterator, pytest.raises(UserError, match="incomplete or damaged"):
        next(iterator)


# The choice between them


def _kinds(data_dir: Path) -> set[str]:
    return {path.name for path in _version(data_dir).iterdir() if path.is_dir()}


def test_what_fits_is_decoded(data_dir, decoded):
    dataset = tiny_store(data_dir).load()
    _same(dataset, decoded)
    assert dataset.feeding == f"decoded, mapped from {_version(data_dir)}/decoded"
    assert _kinds(data_dir) == {"decoded"}


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_what_does_not_fit_is_not_decoded(place, data_dir, decoded, monkeypatch):
    if place == "memory":
        monkeypatch.setattr(store, "_memory", lambda: 98_000)
        why = "a decoded copy would take 9.83e-05 GB, but the machine has 9.8e-05 GB of memory"
    else:
        usage = SimpleNamespace(free=2**30)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
        why = f"a decoded copy would take 9.83e-05 GB, but {data_dir} has 1.07 GB free"
    for _ in range(2):
        dataset = tiny_store(data_dir).load()
        _same(dataset, decoded)
        assert isinstance(dataset.images, Records)
        assert dataset.feeding == f"decoded from the records when needed ({why})"
        assert _kinds(data_dir) == {"labels"}
        monkeypatch.setattr(Store, "_decode", lambda *_: pytest.fail("read again"))


def test_a_choice_can_be_forced(data_dir, decoded, monkeypatch):
    monkeypatch.setattr(store, "_memory", lambda: 0)
    _same(tiny_store(data_dir).load("decoded"), decoded)
    assert _kinds(data_dir) == {"decoded"}
    # It exists, so it is used.
    assert not isinstance(tiny_store(data_dir).load().images, Records)
    dataset = tiny_store(data_dir).load("records")
    assert isinstance(dataset.images, Records) and "as requested" in dataset.feeding
    assert _kinds(data_dir) == {"decoded", "labels"}
    with pytest.raises(UserError, match="'recrods' is none of auto, decoded, records"):
        data.load("sprites2d/coloured", str(data_dir), "recrods")


@pytest.mark.parametrize("name", ["factors.npy", "split.npy", "place.npy", "about.json"])
def test_a_broken_copy_of_the_labels_is_rewritten(name, data_dir, decoded):
    tiny_store(data_dir).load("records")
    path = _version(data_dir) / "labels" / name
    content = path.read_bytes()
    os.truncate(path, path.stat().st_size // 2)
    _same(tiny_store(data_dir).load("records"), decoded)
    assert path.read_bytes() == content


def test_in_a_read_only_directory_labels_are_read_at_every_start(
    data_dir, decoded, monkeypatch, caplog
):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(store, "locked", refuse)
    _same(tiny_store(data_dir).load("records"), decoded)
    assert "is decoded at every start" in caplog.text
    monkeypatch.setattr(store, "_memory", lambda: 98_000)
    dataset = tiny_store(data_dir).load()
    assert isinstance(dataset.images, Records) and "not writable" in dataset.feeding
    _same(dataset, decoded)
    assert _kinds(data_dir) == set()
