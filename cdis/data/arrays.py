"""NumPy's files, .npy and .npz, from hands that are not trusted.

Sizes that a header declares are compared with those of the file before any memory is used.
"""

import contextlib
import io
import math
import os
import stat
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Literal, NamedTuple

import numpy as np

# NumPy's own limit for a header that is to be parsed, with what stands before it.
_LONGEST_HEADER = 10_000 + 12
_PARSERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
# The arrays of a .npz file may take this share of the machine's memory, and this many times their
# compressed size. Deflate reaches 1,032 for zeros, drawings of a few flat shapes about 100.
_SHARE = 0.5
_MOST_RATIO = 500
_STEP = 2**20  # bytes unpacked at a time
_SMALL = 2**26  # bytes to which the ratio does not apply


class _Header(NamedTuple):
    shape: tuple[int, ...]
    order: Literal["C", "F"]  # which index varies slowest: the first, or the last
    dtype: np.dtype
    begin: int  # where the array begins, in bytes
    size: int  # of the array, in bytes


def read_npy(path: Path, what: str) -> np.ndarray:
    """The array in a .npy file, read-only and memory-mapped.

    Args:
      path: the file.
      what: what errors call it.

    Raises:
      ValueError: the file cannot be read, holds Python objects, or has another size than its header
        says.
    """
    with _explained(what):
        _check_file(path)
        with open(path, "rb") as file:
            header = _header(file)
            _check_size(header, os.fstat(file.fileno()).st_size)
            mapped = np.memmap(file, header.dtype, "r", header.begin, header.shape, header.order)
    # As a plain array: indexing a np.memmap would make np.memmaps.
    return np.asarray(mapped)


def read_npz(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays called `names` in a .npz file, read into memory.

    Together they may take half of the machine's memory; and beyond 64 MiB, 500 times the bytes that
    they take in the file.

    Raises ValueError if an array is missing, damaged, encrypted, too large, or holds Python
    objects.
    """
    with _explained(path.name):
        _check_file(path)
        with zipfile.ZipFile(path) as archive:
            members = [_member(archive, name) for name in names]
            _check_total(members, path.stat().st_size)
            return {
                name: _read(archive, member) for name, member in zip(names, members, strict=True)
            }


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # zipfile, zlib and NumPy's parser each raise their own
        why = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())[:300]
        raise ValueError(f"{what} cannot be read: {why or type(error).__name__}") from error


def _check_file(path: Path) -> None:
    if not stat.S_ISREG(os.stat(path).st_mode):  # opening a named pipe would wait for ever
        raise ValueError("it is not a file")


def _header(file: IO[bytes]) -> _Header:
    """The header at the beginning of a file."""
    # NumPy would first read as many bytes as the header says that it has.
    start = io.BytesIO(file.read(_LONGEST_HEADER))
    try:
        version = np.lib.format.read_magic(start)
    except ValueError as error:
        raise ValueError("it does not begin as a .npy file does") from error
    if version not in _PARSERS:
        raise ValueError(f"its format is version {version[0]}.{version[1]}, not 1.0 or 2.0")
    try:
        shape, fortran, dtype = _PARSERS[version](start)
    except Exception as error:  # any that Python's parser raises
        raise ValueError("its header makes no sense") from error
    if dtype.hasobject:
        raise ValueError("it holds Python objects, not numbers")
    if min(shape, default=0) < 0 or not dtype.itemsize:
        raise ValueError(f"its header declares an impossible array, {dtype} {list(shape)}")
    size = math.prod(shape) * dtype.itemsize
    return _Header(shape, "F" if fortran else "C", dtype, start.tell(), size)


def _check_size(header: _Header, size: int) -> None:
    if header.begin + header.size != size:
        raise ValueError(
            f"its header declares {header.dtype} {list(header.shape)}, {header.size:,} bytes, but "
            f"{size - header.begin:,} follow"
        )


def _member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    try:
        member = archive.getinfo(f"{name}.npy")
    except KeyError:
        found = ", ".join(archive.namelist())[:200]
        raise ValueError(f"it has no array {name!r} (it holds {found or 'nothing'})") from None
    if member.flag_bits & 1:
        raise ValueError(f"{name!r} is encrypted")
    # The decoders of other methods cannot stop after a given number of bytes.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name!r} is compressed by a method that NumPy does not use")
    return member


def _check_total(members: list[zipfile.ZipInfo], file_size: int) -> None:
    total = sum(member.file_size for member in members)
    packed = min(file_size, sum(member.compress_size for member in members))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if total > _SHARE * memory:
        raise ValueError(
            f"its arrays take {total:,} bytes, more than half of this machine's memory (save them "
            "as .npy files, which are not read into memory)"
        )
    if total > max(_SMALL, _MOST_RATIO * packed):
        raise ValueError(
            f"{packed:,} bytes unpack to {total:,}, more than {_MOST_RATIO} times as many (save "
            "them as .npy files if that is right)"
        )


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """The array of a member. zipfile compares the checksum once all bytes are read."""
    with archive.open(member) as file:
        header = _header(file)
    _check_size(header, member.file_size)
    content = np.empty(header.size, np.uint8)
    done = 0
    with archive.open(member) as file:
        file.read(header.begin)  # a seek would turn the check off
        while part := file.read(min(_STEP, header.size - done)):
            content[done : done + len(part)] = np.frombuffer(part, np.uint8)
            done += len(part)
    if done < header.size:
        raise ValueError(f"{member.filename} ends too early")
    return np.ndarray(header.shape, header.dtype, content.data, order=header.order)
