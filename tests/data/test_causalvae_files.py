"""Files as CausalVAE's scripts write them: a few made here, and the authors' own of Flow.

The test of the authors' files needs the folder $CDIS_ORIGINAL_DATA with causalvae_flow_noise.zip.
"""

import os
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cdis import data
from cdis.data import flow_physics
from cdis.data.causalvae_files import centre
from cdis.data.flow_original import FlowOriginal
from cdis.data.info import Dataset
from cdis.data.store import Store
from cdis.errors import UserError

# Of 40 names, 4 stand in both splits.
TRAIN = [(ball, 2, 30 + ball, 6 + ball % 9) for ball in range(5, 35)]
TEST = sorted([*TRAIN[:4], *((ball, 3, 40, 6) for ball in range(5, 15))])
EXACT, CUT, PUBLISHED_SPLIT = FlowOriginal.BUILDER_CONFIGS


class Few(FlowOriginal):
    """Flow with fewer files."""

    name = "flow"

    @classmethod
    def numbers(cls, split: str) -> np.ndarray:
        return np.array(TRAIN if split == "train" else TEST)


def _pixels(split: str, numbers: tuple[int, ...]) -> np.ndarray:
    """Noise, in part transparent: RGBA."""
    seed = [split == "train", *numbers]
    return np.random.default_rng(seed).integers(0, 256, (96, 96, 4), np.uint8)


def _name(numbers: tuple[int, ...]) -> str:
    return f"a_{'_'.join(map(str, numbers))}.png"


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files") / "flow_noise"
    for split, rows in (("train", TRAIN), ("test", TEST)):
        (folder / split).mkdir(parents=True)
        for numbers in rows:
            Image.fromarray(_pixels(split, numbers)).save(folder / split / _name(numbers))
    (folder / "train" / ".DS_Store").touch()
    return folder


@pytest.fixture
def folder(files, tmp_path) -> Path:
    return Path(shutil.copytree(files, tmp_path / "flow_noise"))


def _load(place: Path, home: Path, config: object = CUT) -> Dataset:
    return Store(Few, config, home, place).load()


def test_images_labels_and_splits(files, tmp_path):
    dataset = _load(files, tmp_path)
    rows = [*(("train", row) for row in TRAIN), *(("test", row) for row in TEST)]
    assert len(dataset.images) == len(rows) == 44 and dataset.info.repeats
    for image, value, row in zip(dataset.images, dataset.values, rows, strict=True):
        ball, height, reach, hole = row[1]
        wanted = [ball / 30, height + 0.5, hole / 3, (reach + 0.5) / 10]
        np.testing.assert_allclose(value, wanted, rtol=1e-6)
        pixels = _pixels(*row).astype(float)
        share = pixels[..., 3:] / 255
        over_white = share * pixels[..., :3] + (1 - share) * 255
        assert np.abs(image - over_white).max() <= 1.01
    assert sorted(np.concatenate(list(dataset.splits.values())).tolist()) == list(range(44))
    seen = [{rows[i][1] for i in index} for index in dataset.splits.values()]
    assert min(map(len, seen)) > 3
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]
    assert dataset.info.value_mean is not None
    np.testing.assert_allclose(dataset.info.value_mean, dataset.values.mean(0), rtol=1e-5)

    published = _load(files, tmp_path, PUBLISHED_SPLIT)
    np.testing.assert_array_equal(published.images, dataset.images)
    assert published.splits["test"].tolist() == list(range(30, 44))
    assert 2 < len(published.splits["validation"]) < 10
    assert "4 names occur in both" in published.info.description


def test_zip_files_and_folders_around_them_give_the_same(files, tmp_path):
    wanted = _load(files, tmp_path / "a")
    (tmp_path / "around").mkdir()
    shutil.copytree(files, tmp_path / "around" / "flow_noise")
    shutil.copytree(files, tmp_path / "around" / "pendulum")
    packed = [shutil.make_archive(str(tmp_path / name), "zip", tmp_path / "around", base)
              for name, base in (("inner", "flow_noise"), ("both", "."))]  # fmt: skip
    for number, place in enumerate((tmp_path / "around", *map(Path, packed))):
        found = _load(place, tmp_path / str(number))
        np.testing.assert_array_equal(found.images, wanted.images)
        np.testing.assert_array_equal(found.values, wanted.values)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder / "test")


def _two(folder: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(folder / "test", folder / name / "test")
        shutil.copytree(folder / "train", folder / name / "train")
    shutil.rmtree(folder / "test")


def _huge(side: int) -> bytes:
    """The beginning of a PNG that declares many pixels."""
    head = struct.pack(">2I5B", side, side, 8, 6, 0, 0, 0)
    chunk = b"IHDR" + head
    checked = struct.pack(">I", len(head)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + checked + struct.pack(">I", 9) + b"IDAT" + bytes(9)


FIRST = f"train/{_name(TRAIN[0])}"


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_empty, "has no folder with folders train and test"),
        (_two, "has several folders with folders train and test"),
        (lambda f: (f / FIRST).unlink(), "train has 29 images, but flow has 30 in train"),
        (lambda f: (f / FIRST).rename(f / "train/a_5_2_35.png"), "a_5_2_35.png is not named"),
        (lambda f: (f / FIRST).rename(f / "train/a_05_2_35_6.png"), "a_05_2_35_6.png is not named"),
        (lambda f: (f / "train/notes.txt").touch(), "notes.txt is not named .* four whole numbers"),
        (lambda f: Image.new("RGB", (64, 96)).save(f / FIRST), "has 64 x 96 pixels, not 96 x 96"),
        (lambda f: os.truncate(f / FIRST, 900), f"{FIRST} cannot be used"),
        (lambda f: (f / FIRST).write_bytes(_huge(10_000)), "100000000 pixels"),
        (lambda f: (f / FIRST).write_bytes(_huge(40_000)), "1600000000 pixels"),
        (lambda f: (f / FIRST).write_bytes(b""), f"{FIRST} cannot be used"),
        (lambda f: (f / FIRST).write_text("no image"), f"{FIRST} cannot be used"),
    ],
)
def test_other_files_are_refused(harm: Callable[[Path], object], said: str, folder, tmp_path):
    harm(folder)
    with pytest.raises(UserError, match=said):
        _load(folder, tmp_path / "data")
    assert not list((tmp_path / "data").rglob("*array_record*"))


def test_other_places_are_refused(folder, tmp_path):
    home = tmp_path / "data"
    for content in (b"", b"PK\x03\x04 and no more"):
        (tmp_path / "a.zip").write_bytes(content)
        with pytest.raises(UserError, match="neither a folder nor a zip file"):
            _load(tmp_path / "a.zip", home)
    with pytest.raises(UserError, match=r"nowhere does not exist.*flow_noise.*--manual_dir"):
        _load(tmp_path / "nowhere", home)
    with pytest.raises(UserError, match=re.escape(str(home / "downloads" / "manual"))):
        Store(Few, CUT, home).load()
    # A damaged image in a sound archive.
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder))
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[300] ^= 255
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(UserError, match="cannot be used: Bad CRC-32"):
        _load(tmp_path / "a.zip", home)


def test_cells_are_named_by_their_middles():
    assert centre(np.array([-2, -1, 0, 1, 7])).tolist() == [-2.5, -1.5, 0, 1.5, 7.5]


# Flow


def test_cut_labels_give_the_counterfactuals_of_exact_ones():
    infos = [data.info(f"flow/{name}") for name in ("original_cut", "original")]
    assert [info.num_images for info in infos] == [6874, 6874]
    cut, exact = (
        FlowOriginal.labels(config, *(FlowOriginal.numbers(s) for s in ("train", "test")))
        for config in (CUT, EXACT)
    )
    assert np.abs(cut - exact).max(0).tolist() <= [0, 0.5, 0, 0.05001]
    rows = np.random.default_rng(0).choice(len(cut), 512, replace=False)
    cut, exact = cut[rows], exact[rows]
    mechanisms = [data.mechanism(info.name) for info in infos]
    for factor in range(4):
        asked = np.random.default_rng(factor).permutation(exact[:, factor])
        ours, wanted = (
            np.asarray(mechanism.counterfactual(values, factor, asked))
            for mechanism, values in zip(mechanisms, (cut, exact), strict=True)
            if mechanism is not None
        )

        allowed = [0, 0.12, 0, 0.08] if factor == 0 else [0, 0.501, 0, 0.08]
        assert (np.abs(ours - wanted).max(0) <= allowed).all(), factor
    # What exact labels say is what the physics says.
    np.testing.assert_allclose(
        exact[:, 3], flow_physics.jet_reach(exact[:, 1], exact[:, 2], 0.98), rtol=1e-5
    )


def test_the_authors_files_have_the_computed_names(tmp_path):
    folder = os.environ.get("CDIS_ORIGINAL_DATA")
    archive = Path(folder or "", "causalvae_flow_noise.zip")
    if folder is None or not archive.is_file():
        pytest.skip("needs $CDIS_ORIGINAL_DATA/causalvae_flow_noise.zip")
    names = zipfile.ZipFile(archive).namelist()
    rows = []
    for split in ("train", "test"):
        found = [re.findall(r"\d+", name) for name in names if f"/{split}/a_" in name]
        rows.append(np.unique(np.array(found, int), axis=0))
        np.testing.assert_array_equal(rows[-1], FlowOriginal.numbers(split))
    both = {*map(tuple, rows[0].tolist())} & {*map(tuple, rows[1].tolist())}
    assert (len(rows[0]), len(rows[1]), len(both)) == (5254, 1620, 824)
    assert "824 names occur in both" in data.info("flow/original_split").description
