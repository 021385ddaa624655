"""Arrays of others: read as NumPy reads them, and hostile files give one sentence."""

import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cdis.data import arrays
from cdis.data.arrays import read_npy, read_npz

ARRAYS = (
    np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4)),
    np.arange(5, dtype=">i8"),
    np.array(["a", "bcd"]),
    np.zeros((0, 3)),
    np.array(7),
)


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_what_numpy_saves(array, tmp_path):
    np.save(tmp_path / "a.npy", array)
    found = read_npy(tmp_path / "a.npy", "a.npy")
    np.testing.assert_array_equal(found, array, strict=True)
    assert type(found) is np.ndarray and not found.flags.writeable
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", a=array, b=ARRAYS[0], unread=np.array([{}]))
        both = read_npz(tmp_path / "a.npz", ["b", "a"])
        assert list(both) == ["b", "a"]
        np.testing.assert_array_equal(both["a"], array, strict=True)
        np.testing.assert_array_equal(both["b"], ARRAYS[0], strict=True)


def _npy(header: str, content: bytes = bytes(12), version: tuple[int, int] = (1, 0)) -> bytes:
    layout = "<H" if version == (1, 0) else "<I"
    text = header.encode()
    return b"\x93NUMPY" + bytes(version) + struct.pack(layout, len(text)) + text + content


def _declaring(shape: str, descr: str = "'|u1'") -> bytes:
    return _npy(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n")


_LONG = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b"{"
HOSTILE = {
    "long": (_declaring("(1000000000000, 3)"), r"\[1000000000000, 3\], 3,000,000,000,000 bytes"),
    "overflow": (_declaring(f"({2**62}, {2**62}, 4)"), "bytes, but 12 follow"),
    "digits": (_declaring(f"({'9' * 5000},)"), "header makes no sense"),
    "negative": (_declaring("(-1,)"), r"impossible array, uint8 \[-1\]"),
    "negative twice": (_declaring("(-3, -4)"), r"impossible array, uint8 \[-3, -4\]"),
    "no bytes": (_declaring("(1000000000000,)", "'<U0'"), "impossible array"),
    "sides": (_declaring(f"({'1, ' * 100} 12)"), "dimension"),
    "fraction": (_declaring("(1.5, 8)"), "header makes no sense"),
    "nested": (_npy("(" * 4000), "header makes no sense"),
    "dictionaries": (_npy("{1:" * 3000), "header makes no sense"),
    "code": (_declaring("__import__('os').getcwd()"), "header makes no sense"),
    "objects": (_declaring("(1,)", "'|O'"), "Python objects"),
    "objects within": (_declaring("(1,)", "[('a', '|O')]"), "Python objects"),
    "type": (_declaring("(12,)", "'wrong'"), "header makes no sense"),
    "fewer": (_declaring("(13,)"), "13 bytes, but 12 follow"),
    "more": (_declaring("(11,)"), "11 bytes, but 12 follow"),
    "header length": (_LONG, "header makes no sense"),
    "version": (_npy("{}", version=(9, 9)), r"version 9\.9"),
    "nothing": (b"", "does not begin as a .npy file does"),
    "text": (b"no numpy file" * 9, "does not begin as a .npy file does"),
    "pickle": (b"\x80\x04N.", "does not begin as a .npy file does"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_headers(kind, tmp_path):
    content, why = HOSTILE[kind]
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=f"^images.npy cannot be read: .*{why}") as raised:
        read_npy(tmp_path / "a.npy", "images.npy")
    _one_sentence(raised.value)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(ValueError, match=f"^a.npz cannot be read: .*{why}") as raised:
        read_npz(tmp_path / "a.npz", ["a"])
    _one_sentence(raised.value)


def _one_sentence(error: ValueError) -> None:
    assert len(str(error)) < 400 and "\n" not in str(error)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "No such file"),
        (Path.mkdir, "it is not a file"),
        (os.mkfifo, "it is not a file"),
    ],
)
@pytest.mark.parametrize("read", [read_npy, lambda path, name: read_npz(path, [name])])
def test_what_is_no_file(read, make, why, tmp_path):
    make(tmp_path / "a")
    with pytest.raises(ValueError, match=f"^a cannot be read: {why}"):
        read(tmp_path / "a", "a")


def _zip(path: Path, size: int = 100, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    with zipfile.ZipFile(path, "w", compression) as archive, archive.open("a.npy", "w") as file:
        np.lib.format.write_array(file, np.arange(size) % 256)
    return path.read_bytes()


def _changed(content: bytes, mark: bytes, offset: int, new: bytes) -> bytes:
    """`content` with `new` at `offset` from the last `mark`."""
    place = content.rindex(mark) + offset
    return content[:place] + new + content[place + len(new) :]


_ENTRY = b"PK\x01\x02"  # of the directory: flags at 8, checksum at 16, size at 24


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda content: content[:300], "not a zip file"),
        (lambda content: b"", "not a zip file"),
        (lambda content: _changed(content, _ENTRY, 16, b"\0\0\0\0"), "CRC"),
        (lambda content: _changed(content, _ENTRY, 8, b"\1\0"), "'a' is encrypted"),
        (
            lambda content: _changed(content, _ENTRY, 24, b"\0\0\0\1"),
            "800 bytes, but 16,777,088 follow",
        ),
        (lambda content: _changed(content, b"a.npy", 9, b"\xff" * 9), "central directory"),
        (lambda content: _changed(content, b"PK\x05\x06", 16, b"\xff\xff\0\0"), "."),
    ],
)
def test_damaged_archives(spoil, why, tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(spoil(_zip(path)))
    with pytest.raises(ValueError, match=f"^a.npz cannot be read: .*({why})") as raised:
        read_npz(path, ["a"])
    _one_sentence(raised.value)


def test_missing_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", images=1)
    with pytest.raises(ValueError, match=r"no array 'factors' \(it holds images\.npy\)"):
        read_npz(tmp_path / "a.npz", ["images", "factors"])


def test_other_compression(tmp_path):
    _zip(tmp_path / "a.npz", compression=zipfile.ZIP_BZIP2)
    with pytest.raises(ValueError, match="'a' is compressed by a method"):
        read_npz(tmp_path / "a.npz", ["a"])


def _bomb(path: Path, size: int) -> None:
    """An archive of `size` zeros, which it also declares."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.npy", "w", force_zip64=True) as file,
    ):
        header = {"descr": "|u1", "fortran_order": False, "shape": (size,)}
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(size >> 20):
            file.write(bytes(2**20))


def test_bombs(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    _bomb(path, 2**26 - 2**20)
    assert read_npz(path, ["a"])["a"].shape == (2**26 - 2**20,)
    monkeypatch.setattr(arrays, "_read", None)  # nothing may be unpacked
    _bomb(path, 2**26)
    with pytest.raises(ValueError, match="unpack to 67,108,992, more than 500 times"):
        read_npz(path, ["a"])
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    with pytest.raises(ValueError, match="more than half of this machine's memory"):
        read_npz(path, ["a"])
    # An archive that declares less than it unpacks to.
    path.write_bytes(_changed(path.read_bytes(), _ENTRY, 24, struct.pack("<I", 2**20)))
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"67,108,864 bytes, but 1,048,448 follow"):
        read_npz(path, ["a"])
