"""CelebA, on a small stand-in in the format of the original files."""

import dataclasses
import os
import pickle
import shutil
from pathlib import Path

import celeb_a_files
import numpy as np
import pytest
from celeb_a_files import COUNT, attributes, face
from PIL import Image

from cdis import data
from cdis.cli import main
from cdis.data import celeb_a, show, transitions
from cdis.data.builder import SPLITS
from cdis.data.celeb_a import ATTRIBUTES, GRAPHS
from cdis.errors import UserError

LABELS, PARTITION = "list_attr_celeba.txt", "list_eval_partition.txt"


@pytest.fixture(scope="module", autouse=True)
def stand_in():
    """Fewer images than CelebA, in files of unknown hashes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(celeb_a, "COUNT", COUNT)
        for name in ("IMAGES", "LABELS", "PARTITION"):
            patch.setattr(celeb_a, name, getattr(celeb_a, name)._replace(md5=None))
        yield


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    celeb_a_files.write(folder, packed=False)
    return folder


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, originals) -> str:
    path = str(tmp_path_factory.mktemp("data"))
    data.prepare("celeb_a/64", path, str(originals))
    return path


@pytest.fixture
def folder(originals, tmp_path) -> Path:
    return Path(shutil.copytree(originals, tmp_path / "folder"))


# Reading


def test_images_labels_and_official_splits(data_dir):
    dataset = data.load("celeb_a/64", data_dir)
    np.testing.assert_array_equal(dataset.factors, attributes())
    assert dataset.factors.dtype == np.int32
    np.testing.assert_array_equal(dataset.values, attributes().astype(np.float32), strict=True)
    for number, name in enumerate(SPLITS):
        expected = np.flatnonzero(celeb_a_files.split() == number)
        np.testing.assert_array_equal(dataset.splits[name], expected)
    assert dataset.images.shape == (COUNT, 64, 64, 3)
    for i in (0, 17, COUNT - 1):
        # JPEG changes pixels a little; another image or crop would differ much more.
        difference = dataset.images[i].astype(int) - celeb_a.shrink(face(attributes()[i]))
        assert np.abs(difference).mean() < 2
    assert np.abs(dataset.images[0].astype(int) - dataset.images[1]).mean() > 3


def test_archive_and_folder_give_the_same(data_dir, tmp_path):
    celeb_a_files.write(tmp_path / "packed", packed=True)
    data.prepare("celeb_a/64", str(tmp_path / "data"), str(tmp_path / "packed"))
    found = data.load("celeb_a/64", str(tmp_path / "data"))
    expected = data.load("celeb_a/64", data_dir)
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_array_equal(found.factors, expected.factors)


def test_the_middle_square_is_kept_and_antialiased():
    pixels = np.zeros((218, 178, 3), np.uint8)
    pixels[35:183, 15:163] = 255  # all of the middle square of 148 pixels
    assert (celeb_a.shrink(Image.fromarray(pixels)) == 255).all()
    stripes = np.tile((np.arange(178) % 2 * 255).astype(np.uint8)[None, :, None], (218, 1, 3))
    # Without antialiasing, stripes one pixel wide would stay black and white.
    assert abs(celeb_a.shrink(Image.fromarray(stripes)).astype(int) - 127).max() < 30


@pytest.mark.parametrize("variant", GRAPHS)
def test_other_variants_are_selections(variant, data_dir):
    whole, part = data.load("celeb_a/64", data_dir), data.load(f"celeb_a/{variant}", data_dir)
    for i, name in enumerate(part.info.factor_names):
        column = ATTRIBUTES.index(name)
        np.testing.assert_array_equal(part.factors[:, i], whole.factors[:, column])
        np.testing.assert_array_equal(part.values[:, i], whole.values[:, column])
    assert part.info == data.info(f"celeb_a/{variant}")
    np.testing.assert_array_equal(part.images, whole.images)
    assert not {path.name for path in Path(data_dir, "celeb_a").iterdir()} & set(GRAPHS)
    assert data.prepared(f"celeb_a/{variant}", data_dir) is not None
    recorded = data.load(f"celeb_a/{variant}", data_dir, "records")
    sent = pickle.loads(pickle.dumps(recorded.images))
    np.testing.assert_array_equal(sent[5:9], whole.images[5:9])


def test_graphs_have_the_edges_of_the_literature():
    numbers = {"smile": (31, 20, 19, 21, 23, 13), "age": (39, 20, 28, 18, 13, 3)}
    smile, age, attractive = (data.info(f"celeb_a/{v}") for v in ("smile", "age", "attractive"))
    for info in (smile, age):
        expected = tuple(ATTRIBUTES[i] for i in numbers[info.name.split("/")[1]])
        assert info.factor_names == expected
    edges = {
        info.name: {
            (info.factor_names[j], info.factor_names[i])
            for i, j in np.argwhere(np.array(info.graph))
        }
        for info in (smile, age, attractive)
    }
    assert edges["celeb_a/smile"] == {
        ("Smiling", "High_Cheekbones"),
        ("Smiling", "Mouth_Slightly_Open"),
        ("Smiling", "Narrow_Eyes"),
        ("Smiling", "Chubby"),
        ("Male", "Narrow_Eyes"),
    }
    assert edges["celeb_a/age"] == {
        ("Young", "Receding_Hairline"),
        ("Young", "Heavy_Makeup"),
        ("Young", "Chubby"),
        ("Young", "Bags_Under_Eyes"),
        ("Male", "Receding_Hairline"),
        ("Male", "Heavy_Makeup"),
    }
    into = {cause for cause, effect in edges["celeb_a/attractive"] if effect == "Attractive"}
    assert into == set(age.factor_names)
    assert edges["celeb_a/attractive"] > edges["celeb_a/age"]
    assert data.info("celeb_a/64").graph is None
    assert data.info("celeb_a/64").value_mean is None


# Pairs


def test_pairs_differ_in_one_attribute_and_leak_nothing(data_dir):
    dataset = data.load("celeb_a/first_10", data_dir)
    seen = []
    for index in dataset.splits.values():
        x, y, action = transitions.build(dataset.factors, dataset.info, index)
        assert len(action) > 0
        changed = dataset.factors[y] - dataset.factors[x]
        assert (np.abs(changed).sum(axis=1) == 1).all()
        np.testing.assert_array_equal(changed.argmax(axis=1)[action < 10], action[action < 10])
        seen.append(set(x.tolist()) | set(y.tolist()))
        assert seen[-1] <= set(index.tolist())
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]


def test_show_reports_how_unequal_attributes_are(data_dir, tmp_path, capsys):
    sheet = str(tmp_path / "sheet.png")
    name = "celeb_a/first_10"
    assert main(["data", "show", name, "--data_dir", data_dir, "--out", sheet]) == 0
    lines = capsys.readouterr().out.splitlines()
    dataset = data.load(name, data_dir)
    train = dataset.splits["train"]
    action = transitions.build(dataset.factors, dataset.info, train).action
    counts = np.bincount(action, minlength=20)
    for number, label in enumerate(dataset.info.action_names):
        (line,) = (line for line in lines if line.startswith(f"{label} "))
        assert int(line.split()[1].replace(",", "")) == counts[number]
    assert counts.min() == 0 < counts.max()
    with Image.open(sheet) as picture:
        assert min(picture.size) > 600


def test_the_sheet_shows_pairs_and_shares(data_dir):
    dataset = data.load("celeb_a/first_10", data_dir)
    pairs = transitions.build(dataset.factors, dataset.info, dataset.splits["train"])
    row = show._transitions(dataset, pairs, 2)
    number = int((pairs.action == 2).sum())
    assert row.label == f"Attractive+1: 10 of {number} training pairs"
    first = np.flatnonzero(pairs.action == 2)[0]
    np.testing.assert_array_equal(row.images[0], dataset.images[pairs.x[first]])
    np.testing.assert_array_equal(row.images[1], dataset.images[pairs.y[first]])
    axes = show._sheet(dataset, None).axes
    # No image has this attribute: no pairs, but images without it.
    titles = [one.get_title(loc="left") for one in axes]
    assert "Bald (binary): 0" in titles and "Bald+1" not in " ".join(titles)
    words = "\n".join(text.get_text() for one in axes for text in one.texts)
    share = 100 * dataset.factors[:, 2].mean()
    assert f"{'Attractive':20}binary      2: 0 ({100 - share:.3g}%), 1 ({share:.3g}%)" in words
    assert "Bald is 0 in all images" in words


# Faulty files


def test_missing_files_are_listed_with_where_they_are_published(tmp_path):
    with pytest.raises(UserError) as error:
        data.prepare("celeb_a/smile", str(tmp_path / "data"))
    for part in (
        f"Put the files into {tmp_path / 'data' / 'downloads' / 'manual'}",
        "--manual_dir FOLDER",
        "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        "list_attr_celeba.txt",
        "in Anno",
        "list_eval_partition.txt",
        "in Eval",
        "img_align_celeba.zip",
        "or the folder img_align_celeba unpacked from it",
    ):
        assert part in str(error.value)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / PARTITION).touch()
    with pytest.raises(UserError, match="list_attr_celeba") as error:
        data.prepare("celeb_a/64", str(tmp_path / "data"), str(tmp_path / "mine"))
    assert PARTITION not in str(error.value) and f"Put the files into {tmp_path / 'mine'}" in str(
        error.value
    )
    assert not list((tmp_path / "data").rglob("*array_record*"))


def test_another_file_of_the_same_name_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(celeb_a, "PARTITION", celeb_a.PARTITION._replace(md5="0" * 32))
    with pytest.raises(UserError, match=rf"{PARTITION} is not .* its md5 is \w{{32}}, not 0{{32}}"):
        data.prepare("celeb_a/64", str(tmp_path / "data"), str(folder))


def _swap(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (
            lambda f: _swap(f / LABELS, "240\n", "241\n"),
            "says '241' and it has 240 images; both should be 240",
        ),
        (lambda f: _swap(f / LABELS, "Smiling", "Grinning"), "does not name the 40 attributes"),
        (lambda f: _swap(f / LABELS, " -1", " -2"), "neither -1 nor 1"),
        (lambda f: _swap(f / LABELS, " -1", " x"), "x"),
        (lambda f: _swap(f / LABELS, " -1", ""), "column"),
        (lambda f: _swap(f / LABELS, "000007.jpg", "000008.jpg"), "in the same order"),
        (lambda f: (f / LABELS).write_text(""), "attributes"),
        (lambda f: (f / LABELS).write_bytes(b"\xff\xfe"), "ascii"),
        (lambda f: _swap(f / PARTITION, "000240.jpg 2", "000240.jpg 3"), "not 0, 1 or 2"),
        (lambda f: _swap(f / PARTITION, "000240.jpg 2", "000240.jpg"), "lacks a file name"),
        (lambda f: _swap(f / PARTITION, "000240.jpg 2\n", ""), "in the same order"),
        (lambda f: (f / "img_align_celeba" / "000100.jpg").unlink(), "1 images are missing"),
        (lambda f: os.truncate(f / "img_align_celeba" / "000100.jpg", 900), "000100.jpg"),
        (
            lambda f: Image.new("RGB", (64, 64)).save(f / "img_align_celeba" / "000100.jpg"),
            r"000100.jpg: it is RGB \(64, 64\), not RGB \(178, 218\)",
        ),
    ],
)
def test_damaged_files_are_reported(harm, said, folder, tmp_path):
    harm(folder)
    with pytest.raises(UserError, match=said) as error:
        data.prepare("celeb_a/64", str(tmp_path / "data"), str(folder))
    assert "download it again" in str(error.value)
    assert not list((tmp_path / "data").rglob("*array_record*"))


def test_a_damaged_archive_is_reported(folder, tmp_path):
    shutil.rmtree(folder / "img_align_celeba")
    (folder / "img_align_celeba.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(UserError, match=r"img_align_celeba.zip is damaged .* zip file"):
        data.prepare("celeb_a/64", str(tmp_path / "data"), str(folder))


def test_info_of_images_that_repeat_needs_a_count():
    with pytest.raises(ValueError, match="count must be given"):
        dataclasses.replace(data.info("celeb_a/64"), count=None)
