"""Image files of many kinds, decoded into one array.

PNG, JPEG, BMP, WebP, PGM, PPM and TIFF, each with one frame. All become 8-bit greyscale or RGB:

  transparency           laid over white, which changes nothing where an image is opaque
  palette                RGB
  one bit                greyscale, 0 and 255
  16-bit greyscale       divided by 257 and rounded, so that 65,535 becomes 255. The range is that
                         of the format, not of the image, so that images stay comparable
  16-bit colour          reduced to 8 bits per channel by Pillow
  CMYK                   RGB by Pillow's formula; colour profiles are ignored
  orientation in Exif    applied: the image is turned as viewers show it

A set of images has one size and one number of channels: if some are in colour, greyscale ones
become RGB; and they may be resized, with the bilinear filter of Pillow, which is antialiased.
"""

import contextlib
import functools
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from cdis.data import workers
from cdis.data.progress import Progress

#: Larger images are refused: 8,192 x 8,192. Pillow warns of images from 89 million pixels.
MOST_PIXELS = 2**26
#: Of image files, as Pillow names them.
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")
_16_BITS = ("I", "I;16", "I;16B", "I;16L")

_TRANSPARENT = "with transparency are laid over white"
_PALETTE = "with a palette become RGB"
_ONE_BIT = "of one bit become greyscale, 0 and 255"
_DEEP_GREY = "of 16 bits become 8-bit greyscale, divided by 257"
_DEEP_COLOUR = "of 16 bits per colour are reduced to 8"
_CMYK = "in CMYK become RGB"
_TURNED = "are turned as their Exif orientation says"
# Pillow's mode -> the number of channels, and what is done to such an image.
_MODES: dict[str, tuple[int, tuple[str, ...]]] = {
    "L": (1, ()),
    "RGB": (3, ()),
    "1": (1, (_ONE_BIT,)),
    "LA": (1, (_TRANSPARENT,)),
    "RGBA": (3, (_TRANSPARENT,)),
    "P": (3, (_PALETTE,)),
    "CMYK": (3, (_CMYK,)),
    **dict.fromkeys(_16_BITS, (1, (_DEEP_GREY,))),
}


class Decoding(NamedTuple):
    """How files become images: of what common shape [H, W, C], and by which conversions.

    `notes` has a line for each kind of conversion, with the number of images.
    """

    shape: tuple[int, int, int]
    notes: tuple[str, ...]


class _Header(NamedTuple):
    """What a file is to become by itself: (height, width), channels, and the conversions."""

    size: tuple[int, int]
    channels: int
    conversions: tuple[str, ...]


def survey(files: Sequence[Path], resize: tuple[int, int] | None) -> Decoding:
    """What the files will become, from their headers.

    Args:
      files: one or more image files.
      resize: (height, width) of all images. If None, the files must have one size.

    Raises:
      ValueError: a file cannot be read as an image, or another has another size; or the size asked
        for is too large.
    """
    if resize and not 0 < min(resize) * max(resize) <= MOST_PIXELS:
        raise ValueError(
            f"images cannot be resized to {_size(resize)}: they may have from 1 to {MOST_PIXELS:,} "
            "pixels"
        )
    found: dict[_Header, list[int]] = {}  # the rows of each header, in the order of the files

    def add(more: dict[_Header, list[int]]) -> None:
        for header, rows in more.items():
            found.setdefault(header, []).extend(rows)

    workers.each(_headers, [os.fspath(file) for file in files], add)
    size = next(iter(found)).size
    other = next((header for header in found if header.size != size), None)
    if other and not resize:
        raise ValueError(
            f"{spelled(files[0])} is {_size(size)} pixels (height x width), but "
            f"{spelled(files[found[other][0]])} is {_size(other.size)}: give --resize, or name the "
            "data set own:FOLDER@HxW"
        )
    size = resize or size
    channels = max(header.channels for header in found)
    counts: Counter[str] = Counter()
    for header, rows in found.items():
        notes = list(header.conversions)
        if header.channels < channels:
            notes.append("in greyscale become RGB, since others are in colour")
        if header.size != size:
            notes.append(f"are resized to {_size(size)} (height x width)")
        counts.update(dict.fromkeys(notes, len(rows)))
    notes = tuple(f"{count:,} of {len(files):,} images {note}" for note, count in counts.items())
    return Decoding((*size, channels), notes)


def decode(
    name: str,
    files: Sequence[Path],
    decoding: Decoding,
    resize: tuple[int, int] | None,
    target: Path,
) -> None:
    """Decode files into an array uint8 [n, H, W, C] at `target`, a .npy file, on all cores.

    The array is written atomically, beside the target and with the suffix ".incomplete"; two
    processes must not write one target at a time. Progress is reported under `name`. Memory holds
    one image per core.

    Raises:
      ValueError: a file cannot be decoded, or no longer is as `survey` found it.
      OSError: the array cannot be written.
    """
    progress = Progress(name, len(files), "decoded")
    draft = target.with_suffix(".incomplete")
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(files), *decoding.shape)}
    try:
        with open(draft, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            file.flush()
            write = functools.partial(_write, draft, file.tell(), decoding.shape, resize)
            workers.each(write, [os.fspath(file) for file in files], progress.advance)
            os.fsync(file.fileno())
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)


def read(path: Path) -> UInt8[np.ndarray, "h w c"]:
    """One image file, converted as described above: one channel or three.

    Raises ValueError if it cannot be read as an image.
    """
    with _opened(path) as (file, header):
        return np.asarray(_converted(file, header)).reshape(*header.size, header.channels)


def spelled(path: str | os.PathLike[str]) -> str:
    """A path for a message: of bounded length, and without what cannot be printed."""
    text = os.fspath(path).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 300 else f"{text[:140]}...{text[-140:]}"


def _headers(start: int, files: Sequence[str]) -> dict[_Header, list[int]]:
    """Each header that occurs among `files`, and the rows of the files that have it."""
    found: dict[_Header, list[int]] = {}
    for row, path in enumerate(files, start):
        with _opened(path) as (_, header):
            found.setdefault(header, []).append(row)
    return found


def _write(
    draft: Path,
    begin: int,
    shape: tuple[int, int, int],
    resize: tuple[int, int] | None,
    start: int,
    files: Sequence[str],
) -> int:
    """Write the images of `files` from row `start` of an array that begins at byte `begin`."""
    height, width, channels = shape
    with open(draft, "r+b") as rows:
        rows.seek(begin + start * height * width * channels)
        for path in files:
            with _opened(path) as (file, header):
                if header.channels > channels or (resize or header.size) != (height, width):
                    raise ValueError("it has changed while the images were read")
                image = _converted(file, header)
            if header.size != (height, width):
                image = image.resize((width, height), Image.Resampling.BILINEAR)
            if header.channels < channels:
                image = image.convert("RGB")
            rows.write(image.tobytes())
    return len(files)


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[tuple[ImageFile.ImageFile, _Header]]:
    """An image file, not yet decoded. Raises ValueError for all that goes wrong with it."""
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):  # opening a named pipe would wait for ever
            raise ValueError("it is a folder" if stat.S_ISDIR(mode) else "it is not a file")
        with Image.open(path, formats=FORMATS) as file:
            yield file, _header(file)
    except Exception as error:  # Pillow raises almost anything for a damaged file
        raise ValueError(f"{spelled(path)} cannot be read as an image: {_why(error)}") from error


def _header(file: ImageFile.ImageFile) -> _Header:
    width, height = file.size
    if width * height > MOST_PIXELS:
        raise Image.DecompressionBombError
    # A photograph may hold a preview beside the picture, which is the first frame (MPO).
    if file.format != "MPO" and getattr(file, "is_animated", False):
        raise ValueError("it has several frames")
    if file.mode not in _MODES:
        raise ValueError(f"its pixels are of a kind that cannot be converted (mode {file.mode})")
    channels, conversions = _MODES[file.mode]
    if file.mode in ("RGB", "RGBA") and _is_deep(file):
        conversions = (_DEEP_COLOUR, *conversions)
    if "transparency" in file.info:
        if {_DEEP_GREY, _DEEP_COLOUR} & set(conversions):
            raise ValueError("it has 16 bits and a transparent colour")
        conversions = (*conversions, _TRANSPARENT)
    # Without Exif in the header, Pillow would decode a PNG to look for it behind the pixels.
    if "exif" in file.info or file.format == "TIFF":
        exif = file.getexif()
        orientation = exif.get(ExifTags.Base.Orientation, 1)
        if orientation in range(2, 9):
            conversions = (*conversions, _TURNED)
        if orientation in range(5, 9):
            if file.format == "TIFF":  # newer versions of Pillow have exchanged its sides already
                width, height = exif[ExifTags.Base.ImageWidth], exif[ExifTags.Base.ImageLength]
            width, height = height, width
    return _Header((height, width), channels, conversions)


def _is_deep(file: ImageFile.ImageFile) -> bool:
    """Whether Pillow reduces colours of 16 bits to 8, as the arguments of its decoder tell."""
    arguments = file.tile[0][3] if file.tile else None
    if file.format == "PPM" and isinstance(arguments, tuple):  # (layout, highest level)
        return arguments[-1] > 255
    return ";16" in str(arguments)


def _converted(file: ImageFile.ImageFile, header: _Header) -> Image.Image:
    """The image, decoded, in mode L or RGB."""
    image = ImageOps.exif_transpose(file) if _TURNED in header.conversions else file
    if _DEEP_GREY in header.conversions:
        levels = np.asarray(image).astype(np.int32)
        if levels.min() < 0 or levels.max() > 65535:
            raise ValueError(
                f"its levels are from {levels.min():,} to {levels.max():,}, and not of 16 bits"
            )
        image = Image.fromarray(((levels + 128) // 257).astype(np.uint8))
    if _TRANSPARENT in header.conversions:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        image = white
    image = image.convert("L" if header.channels == 1 else "RGB")
    if (image.height, image.width) != header.size:
        raise ValueError(f"its pixels are {_size((image.height, image.width))}, unlike its header")
    return image


def _why(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is not a PNG, JPEG, BMP, TIFF, WebP, PGM or PPM file, or its header is damaged"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"it declares more than {MOST_PIXELS:,} pixels"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())[:300] or type(error).__name__
    return text.encode("utf-8", "backslashreplace").decode()


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
