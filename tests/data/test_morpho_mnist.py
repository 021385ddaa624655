"""MorphoMNIST, on small files in the original format and on the original test digits."""

import functools
import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from original_files import noise, originals

from cdis import data
from cdis.data import morpho_mnist
from cdis.data.builder import split_of
from cdis.data.morpho_mnist import MorphoMnist
from cdis.errors import UserError
from cdis.metrics.causal_interventions import r_squared

COUNTS = {"train": 40, "t10k": 20}


def _idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return gzip.compress(header + array.tobytes())


def _write(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    count, rng = COUNTS[part], np.random.default_rng(len(part))
    images, digits = noise(count, 28, 28, seed=count), rng.integers(0, 10, count, np.uint8)
    measured = np.column_stack([rng.uniform(1, 4, count), rng.uniform(70, 250, count)])
    (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(_idx(images))
    (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(_idx(digits))
    lines = [f"{i},{thickness},{bright}" for i, (thickness, bright) in enumerate(measured)]
    (folder / f"{part}-morpho.csv").write_text("\n".join(["index,thickness,intensity", *lines]))
    return images[..., None], np.column_stack([digits, measured]).astype(np.float32)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(MorphoMnist, "COUNTS", COUNTS)
    monkeypatch.setattr(morpho_mnist, "_SHA256", {})
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


def test_images_values_and_splits(folder, tmp_path):
    train, test = _write(folder, "train"), _write(folder, "t10k")
    where = str(tmp_path / "data")
    data.prepare("morpho_mnist", where, str(folder))
    whole, labelled = (data.load(f"morpho_mnist/{name}", where) for name in ("default", "digit"))
    images, values = (np.concatenate(pair) for pair in zip(train, test, strict=True))
    np.testing.assert_array_equal(whole.images, images)
    np.testing.assert_array_equal(whole.values, values[:, 1:])
    np.testing.assert_array_equal(labelled.values, values)
    np.testing.assert_array_equal(labelled.factors[:, 0], values[:, 0])
    assert not whole.factors.any() and whole.info.graph == ((0, 0), (1, 0))
    assert labelled.info.graph == ((0, 0, 0), (0, 0, 0), (0, 1, 0))
    np.testing.assert_array_equal(whole.splits["test"], np.arange(40, 60))
    np.testing.assert_array_equal(whole.splits["validation"], np.flatnonzero(split_of(40, 0) == 1))
    assert len(whole.splits["train"]) == 34
    data.prepare("morpho_mnist/t10k", where, str(folder))
    part = data.load("morpho_mnist/t10k", where)
    np.testing.assert_array_equal(part.images, test[0])
    assert [len(part.splits[name]) for name in ("train", "validation", "test")] == [14, 3, 3]


def _replace(name: str, change: Callable[[bytes], bytes], folder: Path) -> None:
    (folder / name).write_bytes(change((folder / name).read_bytes()))


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("t10k-images-idx3-ubyte.gz", lambda c: c[:-9], "damaged"),
        ("t10k-images-idx3-ubyte.gz", lambda c: b"", r"not an IDX file of bytes of shape \(20, 28"),
        ("t10k-labels-idx1-ubyte.gz", lambda c: _idx(np.zeros(19, np.uint8)), "of shape"),
        ("t10k-morpho.csv", lambda c: c.replace(b"thick", b"width"), "it has columns"),
        ("t10k-morpho.csv", lambda c: c[: c.rindex(b"\n")], "19 rows, not 20"),
        ("t10k-morpho.csv", lambda c: c.replace(b"\n7,", b"\n8,"), "not numbered in order"),
        ("t10k-morpho.csv", lambda c: c.replace(b"\n7,", b"\n7,x"), "damaged"),
    ],
)
def test_damaged_files_are_reported(name, change, why, folder, tmp_path):
    _write(folder, "t10k")
    _replace(name, change, folder)
    with pytest.raises(UserError, match=f"{name} is damaged .*{why}|{why}"):
        data.prepare("morpho_mnist/t10k", str(tmp_path), str(folder))


def test_the_training_files_are_asked_for_by_name(folder, tmp_path):
    _write(folder, "t10k")
    with pytest.raises(UserError, match=r"lacks files of morpho_mnist/digit: train-images-idx3"):
        data.prepare("morpho_mnist", str(tmp_path), str(folder))


def test_counterfactuals_follow_the_published_equations():
    mechanism = data.mechanism("morpho_mnist/t10k")
    assert mechanism is not None and data.mechanism("morpho_mnist/t10k_digit") is None
    noise_ = np.random.default_rng(0).normal(size=50)

    def intensity(thickness: np.ndarray) -> np.ndarray:
        return 64 + 191 / (1 + np.exp(5 - 2 * thickness - 0.5 * noise_))

    before, after = np.random.default_rng(1).uniform(1, 4, (2, 50))
    values = np.column_stack([before, intensity(before)]).astype(np.float32)
    found = mechanism.counterfactual(values, 0, after.astype(np.float32))
    np.testing.assert_allclose(found, np.column_stack([after, intensity(after)]), rtol=1e-4)
    found = mechanism.counterfactual(values, 1, np.full(50, 200, np.float32))
    np.testing.assert_array_equal(found[:, 0], values[:, 0])
    np.testing.assert_array_equal(found[:, 1], 200)
    assert np.asarray(mechanism.inside(values)).all()


def test_the_referee_measures_a_bar():
    """A bar 4 pixels wide, in half darkness, as bytes and as floats; and nothing at all."""
    mechanism = data.mechanism("morpho_mnist/t10k")
    assert mechanism is not None
    images = np.zeros((2, 28, 28, 1), np.uint8)
    images[0, 4:24, 12:16] = 120
    thickness, intensity = np.asarray(mechanism.referee(images))[0]
    assert abs(thickness - 4) < 0.3 and intensity == 120
    floats = np.asarray(mechanism.referee(images / np.float32(127.5) - 1))
    np.testing.assert_allclose(floats, mechanism.referee(images), rtol=1e-4)
    assert np.isfinite(floats).all()


# The original test digits


@functools.cache
def _original() -> tuple[np.ndarray, np.ndarray]:
    folder = originals() / "morphomnist"
    config = MorphoMnist.BUILDER_CONFIGS[1]
    files = MorphoMnist.files(config)
    assert not any(file.fault(folder / file.name) for file in files)
    images, digits, table = (folder / file.name for file in files)
    return MorphoMnist._read(images, digits, table, 10_000)


def test_facts_of_the_original():
    info = data.info("morpho_mnist/t10k_digit")
    values = _original()[1].astype(np.float64)
    np.testing.assert_allclose(np.array(info.value_mean), values.mean(0), rtol=1e-6)
    np.testing.assert_allclose(np.array(info.value_std), values.std(0), rtol=1e-6)
    mechanism = data.mechanism("morpho_mnist/t10k")
    assert mechanism is not None and np.asarray(mechanism.inside(values[:, 1:])).all()
    share = (values[:, 2] - 64) / 191
    noise_ = (np.log(share / (1 - share)) - 2 * values[:, 1] + 5) / 0.5
    assert abs(noise_.mean()) < 0.03 and abs(noise_.std() - 1) < 0.02
    assert abs(np.corrcoef(noise_, values[:, 1])[0, 1]) < 0.03


def test_the_referee_reads_digits_it_was_not_fitted_to():
    images, values = _original()
    mechanism = data.mechanism("morpho_mnist/t10k")
    assert mechanism is not None
    found = np.asarray(mechanism.referee(images[1::20]))
    assert r_squared(found[:, 0], values[1::20, 1], 0.0) > 0.93
    assert r_squared(found[:, 1], values[1::20, 2], 0.0) > 0.999


def test_a_changed_file_is_refused(tmp_path):
    folder = Path(shutil.copytree(originals() / "morphomnist", tmp_path / "files"))
    _replace("t10k-morpho.csv", lambda content: content + b"\n", folder)
    with pytest.raises(UserError, match="is not the published file of morpho_mnist/t10k_digit"):
        data.prepare("morpho_mnist/t10k", str(tmp_path), str(folder))
