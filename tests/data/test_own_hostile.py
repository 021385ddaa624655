"""Folders that are odd or hostile: every spelling of a table, and one sentence for each fault."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from cdis import data
from cdis.errors import UserError

ROWS = [["image", "x", "name"], ["0.png", "1.5", "a,b"], ["1.png", "2.5", "Ä"]]
LONG = "n" * 5000


@pytest.fixture
def folder(tmp_path) -> Path:
    """Four images; one more outside, to which a link leads."""
    inside = tmp_path / "mine"
    (inside / "sub").mkdir(parents=True)
    for name in ("0.png", "1.png", "sub/2.png", "sub/3.png", "../outside.png"):
        Image.new("L", (4, 4)).save(inside / name)
    (inside / "away.png").symlink_to(tmp_path / "outside.png")
    (inside / "folder").symlink_to(tmp_path)
    (inside / "near.png").symlink_to(inside / "0.png")
    (inside / "loop.png").symlink_to(inside / "loop.png")
    return inside


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_every_spelling_of_a_csv(delimiter, end, mark, folder, tmp_path):
    cells = [[f'"{cell}"' if "," in cell else cell for cell in row] for row in ROWS]
    if delimiter == ";":  # as programs write it where the comma is decimal
        cells = [[cell.replace(".5", ",5") for cell in row] for row in cells]
    text = mark + end.join(delimiter.join(row) for row in cells) + end
    (folder / "factors.csv").write_bytes(text.encode())
    found = data.load(f"own:{folder}", str(tmp_path / "data"))
    assert found.info.factor_names == ("x", "name") and found.info.unordered == ("name",)
    assert found.values.tolist() == [[1.5, 0], [2.5, 1]]


def _csv(*lines: str | bytes):
    def write(folder: Path) -> None:
        content = [line if isinstance(line, bytes) else line.encode() for line in lines]
        (folder / "factors.csv").write_bytes(b"\n".join(content))

    return write


def _about(content: str | bytes):
    def write(folder: Path) -> None:
        _csv("image,x", "0.png,1", "1.png,2")(folder)
        (folder / "about.json").write_bytes(
            content if isinstance(content, bytes) else content.encode()
        )

    return write


def _image(name: str):
    return _csv("image,x", "0.png,1", f"{name},2")


def _file(name: str, content: bytes):
    return lambda folder: (folder / name).write_bytes(content)


def _no_utf_8(folder: Path) -> None:
    damaged = pa.Array.from_buffers(
        pa.string(),
        2,
        [None, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"\xff\xfe")],
    )
    pyarrow.parquet.write_table(pa.table({"image": damaged}), folder / "factors.parquet")


def _split(name: str, save):
    def write(folder: Path) -> None:
        _about(json.dumps({"split": name}))(folder)
        save(folder / name)

    return write


@pytest.mark.parametrize(
    "make, said",
    [
        (_csv(), "factors.csv lists no images"),
        (_csv("image,x"), "factors.csv lists no images"),
        (_csv("image,x", "0.png,1", "1.png"), "line 3 of factors.csv has 1 cells"),
        (_csv("image,x", "", "0.png,1", "1.png,2,3"), "line 4 of factors.csv has 3 cells"),
        (_csv("image,x", '0.png,"1', "1.png,2"), r"line 3 .* cannot be read \(unexpected end"),
        (_csv("image,x", '0.png,"1"2', "1.png,2"), "line 2 .* cannot be read .*expected after"),
        (_csv("image,x", "0.png,1\0", "1.png,2"), "line 2 .* NUL"),
        (_csv("image,x", b"0.png,\xff", "1.png,2"), "line 2 .* not UTF-8"),
        (_csv("image,x", b"0.png,\xed\xa0\x80"), "line 2 .* not UTF-8"),  # a surrogate
        (_csv("image,x".encode("utf-16")), "line 1 .* not UTF-8"),
        (_csv("image,x,x", "0.png,1,2"), "first line .* names 'x' twice"),
        (_csv("image,x", "0.png,1e400", "1.png,2"), "line 2 .* '1e400' .* infinite"),
        (_csv("image,x", "0.png,1", "1.png,-inf"), "line 3 .* '-inf' .* infinite"),
        (_csv("image,x", "0.png,1", "1.png,9007199254740993"), r"line 3 .*9007199254740993.*2\^53"),
        (
            _csv("image,x", "0.png,1", "1.png,2", "sub/2.png,", "sub/3.png,l"),
            "line 5 .* 'l' .* 2 other cells",
        ),
        (_csv("image,x", f"0.png,{'9' * 5000}", "1.png,2"), r"line 2 .*\(5,000 characters"),
        (_csv("image," + LONG, "0.png,1", "1.png,1"), r"'nnn.*\(5,000 characters\) has one value"),
        (_image(LONG), r"1 of 2 image files are missing, first 'nnn.*\(5,000 char.* line 3"),
        (_image("2.png"), "1 of 2 image files are missing, first '2.png' on line 3"),
        (_image("sub"), "1 of 2 image files are missing, first 'sub' on line 3"),
        (_image("loop.png"), "1 of 2 image files are missing, first 'loop.png' on line 3"),
        (_image(""), "line 3 of factors.csv has no 'image'"),
        (_image("./0.png"), r"line 3 .* lists '\./0\.png' twice: line 2"),
        (_image("sub/../0.png"), "line 3 .* twice: line 2"),
        (_image("near.png"), "line 3 .* twice: line 2"),
        (_image("../outside.png"), r"line 3 .*'\.\./outside\.png', which is outside the folder"),
        (_image("../mine2/0.png"), "line 3 .* outside the folder"),
        (_image("/etc/hostname"), "line 3 .* outside the folder"),
        (_image("away.png"), "line 3 .* outside the folder"),
        (_image("folder/outside.png"), "line 3 .* outside the folder"),
        (_about("[" * 100_000), r"about\.json is not valid JSON \(recursion limit"),
        (_about('{"factors":' * 100_000), r"about\.json is not valid JSON \(recursion limit"),
        (_about(" " * (2**24 + 1)), r"about\.json has more than 16 MB"),
        (_about(b'{"licence": "\xff"}'), r"about\.json is not valid JSON"),
        (_about(r'{"licence": "\ud800"}'), r"about\.json is not valid JSON"),
        (_about("[]"), r"about\.json is not a JSON object"),
        (_about('{"order": {"x": [1e400, 2]}}'), "'order' in about.json cannot be read: inf"),
        (_about('{"order": {"x": [1, 9007199254740993]}}'), "order of 'x' .* are 1, 2"),
        (_about('{"graph": [["' + "x" * 9**6 + '"]]}'), "'graph' in about.json cannot be read"),
        (_about('{"' + "x" * 9**6 + '": 1}'), r"no field 'xxx.*\(531,441 characters\)"),
        (_about('{"split": "../split.csv"}'), "'split' names '../split.csv', but the columns are"),
        (_split("s.npy", lambda p: np.save(p, [0, 1])), r"s\.npy is int64 \[2\], not one word"),
        (
            _split("s.csv", lambda p: p.write_text("split\ntrain\nsomewhere")),
            "line 3 of s.csv puts",
        ),
        (
            _split("s.csv", lambda p: p.write_text("a,b\n1,2")),
            "'split' names 'split', .* s.csv are",
        ),
        (lambda folder: os.mkfifo(folder / "about.json"), r"about\.json is not a file"),
        (lambda folder: os.mkfifo(folder / "factors.csv"), "the folder holds no data"),
        (_file("factors.parquet", b"PAR1"), r"factors\.parquet cannot be read"),
        (_file("factors.feather", b""), r"factors\.feather cannot be read"),
        (_no_utf_8, "the table cannot be read .*UTF"),
        (_file("data.npz", b"PK"), r"data\.npz cannot be read"),
    ],
)
def test_hostile_folders(make, said, folder, tmp_path):
    make(folder)
    with pytest.raises(UserError, match=f"^own:.*{said}") as error:
        data.load(f"own:{folder}", str(tmp_path / "data"))
    message = str(error.value).replace(str(folder), "")
    assert "\n" not in message and len(message) < 500 and message.count(". ") <= 2
    assert not list((tmp_path / "data").rglob("*"))


@pytest.mark.parametrize("name", ["", LONG, "a\0b", "~nobody/x", "mine@0", "mine@64x", "mine@-1"])
def test_names_that_are_no_folder(name, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    with pytest.raises(UserError, match=r"the folder .* does not exist") as error:
        data.load(f"own:{name}")
    assert len(str(error.value)) < 700


def test_a_name_may_ask_for_a_size(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder.parent)
    _csv("image,x", "0.png,1", "sub/3.png,2")(folder)
    home = str(tmp_path / "data")
    assert data.load("own:mine", home).info.image_shape == (4, 4, 1)
    assert data.load("own:mine@6", home).images.shape == (2, 6, 6, 1)
    assert data.info("own:mine@6x8").image_shape == (6, 8, 1)
    assert data.load("own:mine", home).images.shape == (2, 4, 4, 1)
    assert len(list((tmp_path / "data" / "own").glob("*.npy"))) == 2
    folder.rename(folder.parent / "mine@6")
    assert data.info("own:mine@6").image_shape == (4, 4, 1)
    assert data.info("own:mine@6@2x3").image_shape == (2, 3, 1)
