"""Every downloaded data set, read from small files in the original format."""

import gzip
import shutil
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from original_files import (
    ORIGINALS,
    Original,
    noise,
    norb_matrix,
    originals,
    paste_character,
    rows,
    write_shapes3d,
)
from PIL import Image

from cdis import data
from cdis.data import download, downloaded, lookup, mpi3d, smallnorb, sprites
from cdis.data.builder import SPLITS, Chunk, split_of
from cdis.data.downloaded import shrink
from cdis.data.part import Part
from cdis.data.sprites import Sprites
from cdis.data.store import Store
from cdis.errors import UserError

# Variants read the same files, and report the same faults.
NAMES = [name for name in ORIGINALS if "/" not in name or name == "mpi3d/toy"]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, tuple[Path, Chunk]]:
    """The files of each data set, and their content."""
    found = {}
    for name, original in ORIGINALS.items():
        folder = tmp_path_factory.mktemp("original")
        found[name] = (folder, original.write(folder, original.sizes))
    return found


@pytest.fixture
def small(monkeypatch) -> None:
    """Few images, but still more than a chunk."""
    for original in ORIGINALS.values():
        monkeypatch.setattr(original.builder, "SIZES", original.sizes)
    for module in (downloaded, mpi3d, smallnorb, sprites):
        monkeypatch.setattr(module, "CHUNK", 50)


@pytest.fixture
def unhashed(small, monkeypatch) -> None:
    """And files whose hashes are unknown."""
    for builder in {original.builder for original in ORIGINALS.values()}:
        monkeypatch.setattr(builder, "files", classmethod(_without_hashes(builder.files)))


def _without_hashes(files: Callable) -> Callable:
    return lambda cls, config: tuple(download.File(file.name, file.urls) for file in files(config))


def _store(name: str, data_dir: Path, manual_dir: Path | None) -> Store:
    original = ORIGINALS[name]
    return Store(original.builder, original.config, data_dir, manual_dir)


def _version(original: Original, data_dir: Path) -> Path:
    return data_dir / original.builder.name / original.variant / "1.0.0"


@pytest.mark.parametrize("name", ORIGINALS)
def test_images_factors_values_and_splits(name, written, unhashed, tmp_path, capsys):
    folder, expected = written[name]
    dataset = _store(name, tmp_path, folder).load()
    info = dataset.info
    assert info.name == name and dataset.images.shape[1:] == info.image_shape
    np.testing.assert_array_equal(dataset.images, shrink(expected.images, info.image_shape[0]))
    np.testing.assert_array_equal(dataset.factors, expected.factors, strict=True)
    np.testing.assert_allclose(dataset.values, expected.values, rtol=1e-6)
    cells = np.asarray(np.ravel_multi_index(tuple(dataset.factors.T), info.factor_sizes))
    assert sorted(cells.tolist()) == list(range(info.num_images))
    for number, split in enumerate(SPLITS):
        np.testing.assert_array_equal(
            dataset.splits[split], np.flatnonzero(split_of(info.num_images, 0) == number)
        )
    said = capsys.readouterr().err
    for file in ORIGINALS[name].builder.files(ORIGINALS[name].config):
        note = tmp_path / "downloads" / ORIGINALS[name].builder.name / f"{file.name}.sha256"
        digest = note.read_text().split()[0]
        assert (
            f"the correct hash of {file.name} is unknown" in said and f"sha256 is {digest}" in said
        )


@pytest.mark.parametrize("name", NAMES)
def test_files_are_read_in_chunks(name, written, unhashed):
    """Never all images at once; Cars3D reads all views of a car at once."""
    folder, expected = written[name]
    original = ORIGINALS[name]
    paths = tuple(folder / file.name for file in original.builder.files(original.config))
    index = np.arange(len(expected.images))
    read = original.builder.read(original.config, paths, index)
    numbers = [chunk.index for chunk in read]
    assert max(map(len, numbers)) <= 50
    np.testing.assert_array_equal(np.sort(np.concatenate(numbers)), index)
    if name == "mpi3d/toy":
        tracemalloc.start()
        for chunk in original.builder.read(original.config, paths, index):
            del chunk
        assert tracemalloc.get_traced_memory()[1] < expected.images.nbytes / 2
        tracemalloc.stop()


def test_shrinking_is_antialiased():
    """Half the side: each new pixel is a mean of 4 x 4 old ones, with triangular weights."""
    images = noise(3, 128, 128, 3)
    weights = np.array([1, 3, 3, 1]) / 8
    wanted = np.zeros((3, 62, 62, 3))
    for i in range(4):
        for j in range(4):
            window = images[:, 1 + i : 125 + i : 2, 1 + j : 125 + j : 2]
            wanted += weights[i] * weights[j] * window
    found = shrink(images, 64)
    assert np.abs(found[:, 1:-1, 1:-1] - wanted).max() <= 1
    np.testing.assert_array_equal(shrink(images[..., :1], 64), found[..., :1])
    assert shrink(images, 128) is images


# Parts of a grid

PARTS = {
    "shapes3d": {"floor_hue": (0, 2), "scale": (1,), "orientation": (0,)},
    "sprites": {"bottomwear": (1,), "hair": (0,), "eyes": (1,), "frame": (1,)},
    "mpi3d/toy": {"object_size": (0,), "camera_height": (0, 2), "vertical_axis": (1,)},
}


def _part(name: str, data_dir: Path, manual_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    original = ORIGINALS[name]
    monkeypatch.setattr(original.builder, "PARTS", {original.variant: PARTS[name]})
    return _store(name, data_dir, manual_dir)


@pytest.mark.parametrize("name", PARTS)
def test_a_part_has_the_images_of_its_values(name, written, unhashed, tmp_path, monkeypatch):
    folder, whole = written[name]
    if name == "shapes3d":
        folder, whole = tmp_path, write_shapes3d(tmp_path, ORIGINALS[name].sizes, shuffled=False)
    dataset = _part(name, tmp_path / "data", folder, monkeypatch).load()
    full = ORIGINALS[name].builder.whole(ORIGINALS[name].config)
    within = np.ones(len(whole.factors), bool)
    for factor, values in PARTS[name].items():
        within &= np.isin(whole.factors[:, full.factor_names.index(factor)], values)
    assert 20 < within.sum() < len(within) / 2
    np.testing.assert_array_equal(dataset.images, whole.images[within])
    for column, factor in enumerate(dataset.info.factor_names):
        before = full.factor_names.index(factor)
        kept = np.array(PARTS[name].get(factor, range(full.factor_sizes[before])))
        index = dataset.factors[:, column]
        np.testing.assert_array_equal(kept[index], whole.factors[within, before])
        values = whole.values[within, before]
        np.testing.assert_allclose(dataset.values[:, column], values, rtol=1e-6)


def test_a_part_of_files_in_another_order_is_refused(written, unhashed, tmp_path, monkeypatch):
    store = _part("shapes3d", tmp_path, written["shapes3d"][0], monkeypatch)
    with pytest.raises(UserError, match=r"an image has .* [012], where one of .* should be"):
        store.prepare()


@pytest.mark.parametrize("name", PARTS)
def test_images_far_from_those_wanted_are_not_read(name, written, unhashed):
    folder, expected = written[name]
    original = ORIGINALS[name]
    paths = tuple(folder / file.name for file in original.builder.files(original.config))
    last = len(expected.images) - 1
    chunks = original.builder.read(original.config, paths, np.array([3, last]))
    numbers = np.concatenate([chunk.index for chunk in chunks])
    assert {3, last} <= set(numbers.tolist()) and len(numbers) <= 100


def test_facts_of_a_part():
    kept = {"floor_hue": (1, 6), "wall_hue": (0, 5, 9), "object_hue": range(1, 10, 3)}
    part = Part(data.info("shapes3d"), kept | {"shape": (2,)}).info("shapes3d/few")
    assert part.factor_sizes == (2, 3, 3, 8, 15) and "shape" not in part.factor_names
    assert not any(part.circular) and part.unordered == ()
    assert part.num_images == 2 * 3 * 3 * 8 * 15
    assert "floor_hue 1, 6; wall_hue 0, 5, 9; object_hue 1, 4, 7; shape 2" in part.description
    assert data.info("shapes3d/small").circular == (True, True, True, False, False, False)
    assert data.info("shapes3d/small").factor_sizes == data.info("rooms3d/small").factor_sizes


def test_one_file_may_be_named_itself(written, unhashed, tmp_path):
    path = next(written["mpi3d/toy"][0].glob("*.npz"))
    assert _store("mpi3d/toy", tmp_path, path).load().images.shape[0] == 288
    other = next(written["sprites"][0].glob("*.zip"))
    with pytest.raises(UserError, match=r"\.zip lacks files of mpi3d/toy: mpi3d_toy.npz"):
        _store("mpi3d/toy", tmp_path / "other", other).prepare()


# Original files, where they are


def test_published_sprites_are_pasted_layer_by_layer():
    path = originals() / Sprites.FILES[0].name
    index = np.sort(np.random.default_rng(0).choice(4_630_500, 300, replace=False))
    found = np.concatenate([c.images for c in Sprites.read(None, (path,), index)])
    with zipfile.ZipFile(path) as archive:
        names = {tuple(name.split("/")[1:]): name for name in archive.namelist()}
        sheets = {
            (part, value): Image.open(archive.open(names[part, f"{value}.png"])).convert("RGBA")
            for part, size in zip(sprites.PARTS, Sprites.SIZES, strict=False)
            for value in range(size)
        }
    factors = np.stack(np.unravel_index(index, Sprites.SIZES), axis=1)
    for image, row in zip(found, factors.tolist(), strict=True):
        np.testing.assert_array_equal(image, paste_character(sheets, row))


def test_every_step_of_small_sprites_shows():
    """From 60 characters, one value up for each factor: at least four pixels change."""
    builder, config = lookup.find("sprites/small")
    assert issubclass(builder, Sprites)
    part = Part(builder.whole(config), Sprites.PARTS["small"])
    sizes = np.array(builder.facts(config).factor_sizes)
    before = np.random.default_rng(0).integers(0, sizes - 1, (60, len(sizes)))
    after = (before[:, None] + np.eye(len(sizes), dtype=int)).reshape(-1, len(sizes))
    index, where = np.unique(
        part.places[np.ravel_multi_index(tuple(np.concatenate([before, after]).T), tuple(sizes))],
        return_inverse=True,
    )
    path = originals() / Sprites.FILES[0].name
    images = np.concatenate([c.images for c in Sprites.read(config, (path,), index)])[where]
    changed = (images[60:].reshape(60, len(sizes), 64, 64, 3) != images[:60, None]).any(-1)
    assert changed.sum((2, 3)).min() >= 4


# Published facts


@pytest.mark.parametrize("name", data.names())
def test_every_data_set_is_listed_without_its_files(name, tmp_path):
    info = data.info(name)
    assert info.name == name and info.num_images > 4000 and info.licence and info.citation
    assert data.prepared(name, str(tmp_path)) is None
    assert not list(tmp_path.iterdir())


def test_sizes_are_as_published():
    counts = {name: data.info(name).num_images for name in ORIGINALS}
    assert counts == {
        "shapes3d": 480_000,
        "dsprites": 737_280,
        "smallnorb": 48_600,
        "smallnorb/96": 48_600,
        "cars3d": 17_568,
        "cars3d/128": 17_568,
        "sprites": 4_630_500,
        "mpi3d/toy": 1_036_800,
    }
    assert data.info("mpi3d/real").num_images == data.info("mpi3d/realistic").num_images
    assert data.info("mpi3d/real").factor_sizes[:2] == (6, 6)


def test_every_file_has_a_hash_or_its_docstring_says_otherwise():
    unknown = set()
    for name in data.names():
        cls, config = lookup.find(name)
        if issubclass(cls, downloaded.DownloadedBuilder):
            for file in cls.files(config):
                assert file.urls and all(url.startswith("http") for url in file.urls)
                if not (file.sha256 or file.md5):
                    assert "no hash" in (cls.__doc__ or "").lower(), "the docstring must say so"
                    unknown.add(name)
    assert unknown == {"sprites", "sprites/small", "mpi3d/real", "mpi3d/real_small"}


# Damage


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def _garble(path: Path) -> None:
    """From the middle on; a table of contents at the beginning may survive."""
    half = path.stat().st_size // 2
    path.write_bytes(path.read_bytes()[:half] + b"\xa5" * half)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [_truncate, _garble, _empty])
@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_are_reported(name, harm, written, unhashed, tmp_path):
    folder = Path(shutil.copytree(written[name][0], tmp_path / "original"))
    harm(max(folder.iterdir(), key=lambda path: path.stat().st_size))
    with pytest.raises(UserError, match=rf"^{name} cannot be read from .*cdis data prepare {name}"):
        _store(name, tmp_path / "data", folder).prepare()
    assert not _version(ORIGINALS[name], tmp_path / "data").exists()


def _rewrite_h5(path: Path, name: str, change) -> None:
    with h5py.File(path, "a") as file:
        array = change(np.asarray(file[name]))
        del file[name]
        file[name] = array


def _second_as_first(labels: np.ndarray) -> np.ndarray:
    labels[1] = labels[0]
    return labels


def _one_value_more(labels: np.ndarray) -> np.ndarray:
    labels[7, 3] += 0.001
    return labels


@pytest.mark.parametrize(
    ("array", "change", "why"),
    [
        ("labels", _second_as_first, "two images have the same factors"),
        ("labels", _one_value_more, "scale has 3 values, not 2"),
        ("labels", lambda labels: labels[:, :5], r"the shape of labels is \(216, 5\), not"),
        ("images", lambda images: images[:-1], r"the shape of images is \(215, 64, 64, 3\), not"),
        ("images", lambda images: images.astype(np.float32), "the type of images is float32"),
    ],
)
def test_unexpected_arrays_are_reported(array, change, why, written, unhashed, tmp_path):
    folder = Path(shutil.copytree(written["shapes3d"][0], tmp_path / "original"))
    _rewrite_h5(folder / "3dshapes.h5", array, change)
    with pytest.raises(UserError, match=f"^shapes3d cannot be read from .*: {why}"):
        _store("shapes3d", tmp_path, folder).prepare()


def _fewer_cars(folder: Path) -> None:
    (path,) = folder.iterdir()
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("data/cars/car_001_mesh.mat"))


def _fewer_sheets(folder: Path) -> None:
    (path,) = folder.iterdir()
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            if not name.endswith("hair/1.png"):
                archive.writestr(name, content)


def _other_matrix(folder: Path) -> None:
    (path,) = folder.glob("*training-cat*")
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(b"\x53" + content[1:]))


def _other_instances(folder: Path) -> None:
    """Both halves have the same instances."""
    training, testing = (next(folder.glob(f"*{part}-info*")) for part in ("training", "testing"))
    testing.write_bytes(training.read_bytes())


def _one_row_less(folder: Path) -> None:
    (path,) = folder.glob("*testing-cat*")
    path.write_bytes(gzip.compress(norb_matrix(np.zeros(71, "<i4"))))


def _four_colours(folder: Path) -> None:
    np.savez(folder / "mpi3d_toy.npz", images=np.zeros((100, 64, 64, 3), np.uint8))


def _by_columns(folder: Path) -> None:
    count = len(rows(ORIGINALS["mpi3d/toy"].sizes, shuffled=False))
    images = np.zeros((count, 64, 64, 3), np.uint8, order="F")
    np.savez(folder / "mpi3d_toy.npz", images=images)


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("cars3d", _fewer_cars, r"the number of files car_\*_mesh.mat is 1, not 4"),
        ("sprites", _fewer_sheets, "the number of files hair/1.png is 0, not 1"),
        (
            "smallnorb",
            _other_matrix,
            "a matrix begins with 0x1e3d4c53, which is not a known element type",
        ),
        ("smallnorb", _other_instances, "two images have the same factors"),
        ("smallnorb", _one_row_less, "the shape of .*testing-info.mat.gz is"),
        ("mpi3d/toy", _four_colours, "the number of pixel values is 1228800, not"),
        ("mpi3d/toy", _by_columns, "the type of images is .*True"),
    ],
)
def test_files_in_another_format_are_reported(name, change, why, written, unhashed, tmp_path):
    folder = Path(shutil.copytree(written[name][0], tmp_path / "original"))
    change(folder)
    with pytest.raises(UserError, match=f"^{name} cannot be read from .*: {why}"):
        _store(name, tmp_path, folder).prepare()
