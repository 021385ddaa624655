"""CausalVAE's own files of Pendulum, on files that matplotlib draws here as its script does."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from pendulum_twin import draw, save

from cdis import data
from cdis.data import pendulum_original, pendulum_published
from cdis.data.builder import SPLITS
from cdis.data.pendulum_original import PendulumOriginal
from cdis.data.store import Store
from cdis.errors import UserError

STEPS = np.array([(i, j) for i in (-40, -7, 0, 1, 29, 43) for j in (60, 77, 99, 101, 120, 147)])


class Small(PendulumOriginal):
    """Pendulum with the 36 images of `STEPS`; what it caches is apart from the whole set's."""

    name = "pendulum"


@pytest.fixture
def small(monkeypatch) -> type[PendulumOriginal]:
    for module in (pendulum_original, pendulum_published):
        monkeypatch.setattr(module, "steps", lambda: STEPS)
    return Small


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("original") / "pendulum"
    for number, (i, j) in enumerate(STEPS.tolist()):
        split = root / ("test" if number and number % 4 == 0 else "train")
        split.mkdir(parents=True, exist_ok=True)
        save(split, i, j)
    return root


def _read(builder_class, name: str, place: Path, tmp_path: Path):
    builder = builder_class(data_dir=tmp_path, config=name)
    builder.fetch(tmp_path, place)
    split = builder.split()
    (chunk,) = builder.chunks(np.arange(len(split)))
    return split, chunk


def _expected() -> np.ndarray:
    """The rows of pendulum/published at `STEPS`."""
    table = pendulum_published.table()
    places = {steps: k for k, steps in enumerate(map(tuple, pendulum_published.steps().tolist()))}
    return table[[places[steps] for steps in map(tuple, STEPS.tolist())]]


EXPECTED = _expected()


def _sorted(values: np.ndarray) -> np.ndarray:
    return values[np.lexsort(values.T[::-1])]


@pytest.mark.parametrize("packed", [False, True])
def test_files_are_read_with_labels_in_full_precision(small, folder, packed, tmp_path):
    place = folder
    if packed:
        place = tmp_path / "pendulum.zip"
        with zipfile.ZipFile(place, "w") as archive:
            for file in folder.rglob("*.png"):
                archive.write(file, file.relative_to(folder.parent))
    split, chunk = _read(small, "original", place, tmp_path)
    assert np.bincount(split).tolist() == [25, 5, 6]
    np.testing.assert_array_equal(_sorted(chunk.values), _sorted(EXPECTED))
    for image, values in zip(chunk.images, chunk.values, strict=True):
        np.testing.assert_array_equal(image, draw(*values.tolist())[..., :3])
    assert small.mechanism(None) is pendulum_published.MECHANISM


def test_published_split(small, folder, tmp_path):
    split, chunk = _read(small, "original_split", folder, tmp_path)
    tests = chunk.values[split == SPLITS.index("test")]
    np.testing.assert_array_equal(_sorted(tests), _sorted(EXPECTED[4::4]))
    assert set(split.tolist()) == {0, 1, 2}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a_43_147_3_20.png", r"a_43_147_3_20.png contradicts itself.*3.00 long and at 19.61"),
        ("a_43_147_2_19.png", r"a_43_147_2_19.png contradicts itself"),
        ("a_43_148_3_19.png", r"a_43_148_3_19.png is not an image of pendulum.*without 100"),
        ("a_0_100_3_10.png", r"a_0_100_3_10.png is not an image of pendulum"),
    ],
)
def test_names_that_contradict_the_physics_are_refused(small, folder, name, message, tmp_path):
    place = tmp_path / "pendulum"
    for file in folder.rglob("*.png"):
        target = place / file.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(file)
    (last,) = place.rglob("a_43_147_3_19.png")
    last.rename(last.with_name(name))
    with pytest.raises(UserError, match=message):
        _read(small, "original", place, tmp_path)


def test_facts():
    ours, published = data.info("pendulum/original"), data.info("pendulum/published")
    assert ours.count == 7308 and not ours.repeats
    assert (ours.value_mean, ours.graph) == (
        pytest.approx(published.value_mean),
        published.graph,
    )
    assert data.info("pendulum/original_split").count == 7308
    train, test = (PendulumOriginal.numbers(split) for split in ("train", "test"))
    assert (len(train), len(test)) == (5482, 1826)
    assert [-40, 60, 3, 2] in train.tolist() and len(np.unique(train[:, :2], axis=0)) == 5482


def test_part_of_the_images_without_train_and_test(folder, tmp_path):
    place = tmp_path / "files"
    place.mkdir()
    for file in folder.rglob("a_*_1??_*.png"):
        (place / file.name).symlink_to(file)
    store = Store(PendulumOriginal, PendulumOriginal.BUILDER_CONFIGS[0], tmp_path / "data", place)
    store.prepare()
    dataset = store.load()
    assert dataset.info.num_images == len(dataset.images) == 18
    np.testing.assert_array_equal(_sorted(dataset.values), _sorted(EXPECTED[STEPS[:, 1] > 99]))
    with pytest.raises(UserError, match="has no folders train and test: give the folder pendulum"):
        _read(PendulumOriginal, "original_split", place, tmp_path)
    for file in place.iterdir():
        if not file.name.startswith("a_0_101_"):
            file.unlink()
    with pytest.raises(UserError, match="has too few images for three splits, 1"):
        _read(PendulumOriginal, "original", place, tmp_path)
