"""A folder of the user's own images: `own:FOLDER` in place of a data set's name.

The folder holds images and their factors in one of three forms:

  images.npy, factors.npy    uint8 [n, H, W, C] and integers [n, F]
  data.npz                   the same two arrays, named images and factors
  factors.csv                a header line, then one line per image. A column "image" gives the path
                             of each image file within the folder; or images.npy holds the images,
                             in the order of the lines

and optionally about.json: {"factors": [names, in the desired order; of a CSV file, the columns to
use], "circular": [names], "order": {name: [values, first to last]}, "licence": "...", "citation":
"...", "description": "..."}. Without it, the factors of arrays are called factor_0, factor_1, ...,
and those of a CSV file are all columns but "image".

A factor's values are sorted, as numbers if all of them are, else as text by Unicode, unless "order"
says otherwise; a value's index is its position in that order, and a step leads to the next value
that occurs. `Dataset.values` holds the number, or the index of a text. Combinations of values may
be missing, but no two images may share one: a transition needs one image for each row of factors.

Height and width are multiples of 4. Images are split 70/15/15 by a fixed seed and by their position
in the arrays or in the CSV file. images.npy is memory-mapped; data.npz is read into memory at every
start. Image files are decoded once, into one array in the data directory that is memory-mapped, and
again when a file changes.
"""

import csv
import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from cdis.data.builder import SPLITS, split_of
from cdis.data.info import Dataset, Info
from cdis.data.lookup import OWN
from cdis.data.progress import Progress
from cdis.errors import UserError, near_miss
from cdis.files import locked

_TEXTS = ("licence", "citation", "description")
_LISTS = ("factors", "circular")
# Combinations of factor values; the search for transitions takes 8 bytes for each.
_MOST_CELLS = 50_000_000
# Networks halve height and width twice. Checked here, before a long training.
_MULTIPLE = 4


class _Column(NamedTuple):
    """A factor: index and physical value of each image, and the number of distinct values."""

    index: np.ndarray
    values: np.ndarray
    size: int


class Own:
    """A folder of the user's own images. The constructor raises `UserError` for a faulty folder."""

    def __init__(self, name: str, data_dir: Path) -> None:
        self._name, self._data_dir = name, data_dir
        self._folder = Path(name.removeprefix(OWN)).expanduser()
        if name == OWN or not self._folder.is_dir():
            raise self._error(
                f"the folder {self._folder.absolute()} does not exist",
                f"Give the path of a folder as {OWN}PATH.",
            )
        about = self._about()
        self._files: list[Path] = []
        self._images: np.ndarray | None = None
        table = self._table(about)
        columns = [self._column(name, cells, about) for name, cells in table.items()]
        self._factors = np.stack([column.index for column in columns], axis=1).astype(np.int32)
        self._values = np.stack([column.values for column in columns], axis=1).astype(np.float32)
        sizes = tuple(column.size for column in columns)
        self._check_rows(tuple(table), sizes)
        self.info = Info(
            name=name,
            factor_names=tuple(table),
            factor_sizes=sizes,
            circular=self._circular(about, tuple(table), sizes),
            image_shape=self._shape(),
            licence=about.get("licence", "not stated"),
            citation=about.get("citation", ""),
            description=about.get("description", f"Your own images, from {self._folder}."),
            count=len(self._factors),
        )

    def prepare(self) -> None:
        """Decode the image files, unless that has been done."""
        self.load()

    def prepared(self) -> Dataset:
        """The data set, decoded first if need be."""
        return self.load()

    def load(self, feed: str = "auto") -> Dataset:
        """The data set. Raises `UserError` for an image that is unreadable or of another size."""
        if feed == "records":
            raise self._error("a folder of images has no record files to read", "Leave --feed out.")
        images = self._decoded() if self._images is None else self._images
        split = split_of(len(self._factors), 0)
        splits = {name: np.flatnonzero(split == number) for number, name in enumerate(SPLITS)}
        return Dataset(self.info, images, self._factors, splits, self._values)

    # Contents of the folder

    def _about(self) -> dict[str, Any]:
        path = self._folder / "about.json"
        if not path.exists():
            return {}
        try:
            about = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise self._error(f"about.json cannot be read ({error})", "Fix its JSON.") from error
        if not isinstance(about, dict):
            raise self._error("about.json is not a JSON object", "Write {...} in it.")
        known = (*_LISTS, "order", *_TEXTS)
        for key, value in about.items():
            self._known(key, known, "about.json has an unknown field")
            if key in _LISTS and not _is_list_of_text(value):
                raise self._error(f"{key!r} in about.json is not a list of names", "Make it one.")
            if key in _TEXTS and not isinstance(value, str):
                raise self._error(f"{key!r} in about.json is not a string", "Put it in quotes.")
        order = about.get("order", {})
        if not (isinstance(order, dict) and all(isinstance(v, list) for v in order.values())):
            raise self._error(
                '"order" in about.json does not give a list of values for each factor',
                'Write it as {"size": ["small", "large"]}.',
            )
        return about

    def _table(self, about: dict[str, Any]) -> dict[str, Any]:
        """The cells of each factor's column. Sets `_images` or `_files`, too."""
        folder = self._folder
        here = {
            n for n in ("data.npz", "images.npy", "factors.npy", "factors.csv") if _is(folder, n)
        }
        if here == {"factors.csv"} or here == {"images.npy", "factors.csv"}:
            table = self._read_csv(folder / "factors.csv")
            if "images.npy" in here:
                table.pop("image", None)
                self._images = self._read_npy("images.npy")
            elif "image" not in table:
                raise self._error(
                    "factors.csv has no column 'image', and images.npy is missing",
                    "Add the column, with the path of each image file relative to the folder.",
                )
            else:
                self._files = self._find_files(table.pop("image"))
            wanted = about.get("factors", list(table))
            for name in wanted:
                self._known(name, tuple(table), "about.json names an unknown factor", "columns")
            table = {name: table[name] for name in wanted}
        elif here == {"data.npz"} or here == {"images.npy", "factors.npy"}:
            self._images, factors = (
                self._read_npz()
                if "data.npz" in here
                else (
                    self._read_npy("images.npy"),
                    self._read_npy("factors.npy"),
                )
            )
            table = self._array_columns(factors, about)
        else:
            found = " and ".join(sorted(here)) or "no data"
            raise self._error(
                f"the folder holds {found}",
                "It must hold exactly one of: images.npy and factors.npy; data.npz; factors.csv "
                "and image files; factors.csv and images.npy.",
            )
        self._check_arrays(table)
        return table

    def _read_csv(self, path: Path) -> dict[str, list[str]]:
        try:
            with open(path, newline="", encoding="utf-8-sig") as file:
                lines = [(n, row) for n, row in enumerate(csv.reader(file, strict=True), 1) if row]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise self._error(
                f"factors.csv cannot be read ({error})", "Save it as comma-separated UTF-8 text."
            ) from error
        header = [cell.strip() for cell in lines[0][1]] if lines else []
        if len(set(header)) < len(header) or not all(header):
            raise self._error(
                "the first line of factors.csv has an empty or repeated name",
                "Give each column a name of its own.",
            )
        rows = []
        for number, row in lines[1:]:
            cells = [cell.strip() for cell in row]
            if len(cells) != len(header) or not all(cells):
                raise self._error(
                    f"line {number} of factors.csv has {len(cells)} cells, "
                    f"{cells.count('')} of them empty, instead of {len(header)} filled ones",
                    "Give every image a value in each column.",
                )
            rows.append(cells)
        if not rows:
            raise self._error("factors.csv lists no images", "Write one line per image.")
        return {
            name: list(cells) for name, cells in zip(header, zip(*rows, strict=True), strict=True)
        }

    def _find_files(self, names: list[str]) -> list[Path]:
        files = [self._folder / name for name in names]
        missing = [name for name, file in zip(names, files, strict=True) if not file.is_file()]
        if missing:
            raise self._error(
                f"{len(missing)} of {len(names)} image files are missing, {missing[0]!r} first",
                "Add them, or correct the column 'image': its paths are relative to the folder.",
            )
        if len(set(files)) < len(files):
            twice = next(name for name in names if names.count(name) > 1)
            raise self._error(
                f"factors.csv lists {twice!r} twice", "Give each image exactly one line."
            )
        return files

    def _read_npy(self, name: str) -> np.ndarray:
        try:
            # As a plain array: indexing a np.memmap would make np.memmaps.
            return np.asarray(np.load(self._folder / name, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise self._error(f"{name} cannot be read ({error})", "Save it with numpy.save.") from (
                error
            )

    def _read_npz(self) -> tuple[np.ndarray, np.ndarray]:
        try:
            with np.load(self._folder / "data.npz", allow_pickle=False) as arrays:
                return arrays["images"], arrays["factors"]
        except Exception as error:  # zip, zlib and NumPy each have errors of their own
            raise self._error(
                f"data.npz cannot be read, or lacks images or factors ({error})",
                "Save it with numpy.savez(..., images=images, factors=factors).",
            ) from error

    def _array_columns(self, factors: np.ndarray, about: dict[str, Any]) -> dict[str, np.ndarray]:
        if factors.ndim != 2 or factors.dtype.kind not in "iu":
            raise self._error(
                f"factors are {factors.dtype} {list(factors.shape)}, not integers [n, F]",
                "Save integers, one row per image, or write a factors.csv, whose values may be any "
                "numbers or text.",
            )
        names = about.get("factors", [f"factor_{i}" for i in range(factors.shape[1])])
        if len(names) != factors.shape[1] or len(set(names)) < len(names):
            raise self._error(
                f"about.json has {len(set(names))} names for {factors.shape[1]} factors",
                "Give each column of factors a name of its own.",
            )
        return dict(zip(names, factors.T, strict=True))

    def _check_arrays(self, table: dict[str, Any]) -> None:
        if not table:
            raise self._error("the data has no factors", "Give each image at least one.")
        images, rows = self._images, len(next(iter(table.values())))
        if images is None:
            return
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
            raise self._error(
                f"images are {images.dtype} {list(images.shape)}, not uint8 [n, H, W, 1 or 3]",
                "Save levels from 0 to 255 as numpy.uint8, channels last; a greyscale image has "
                "one channel.",
            )
        if len(images) != rows:
            raise self._error(
                f"it has {len(images):,} images but {rows:,} rows of factors",
                "Give each image one row of factors, in the same order.",
            )

    # Factors

    def _column(self, name: str, cells: list[str] | np.ndarray, about: dict[str, Any]) -> _Column:
        array = np.asarray(cells)
        numbers = _as_numbers(array)
        keys = array if numbers is None else numbers
        kinds, index = np.unique(keys, return_inverse=True)
        if name in about.get("order", {}):
            order = about["order"][name]
            if numbers is not None and all(isinstance(v, int | float) for v in order):
                wanted = np.asarray(order, np.float64)
            else:
                kinds, index = np.unique(array.astype(str), return_inverse=True)
                wanted = np.asarray([str(value) for value in order])
            if sorted(wanted.tolist()) != kinds.tolist():
                raise self._error(
                    f"the order of {name!r} in about.json does not list its values, which are "
                    f"{_some(kinds)}",
                    "List each of them exactly once.",
                )
            place = np.empty(len(kinds), np.int64)
            place[np.searchsorted(kinds, wanted)] = np.arange(len(kinds))
            index = place[index]
        if len(kinds) < 2:
            raise self._error(
                f"the factor {name!r} has one value, {_some(kinds)}, in all images",
                "Leave it out: a factor needs at least two values.",
            )
        return _Column(index, index if numbers is None else numbers, len(kinds))

    def _circular(
        self, about: dict[str, Any], names: tuple[str, ...], sizes: tuple[int, ...]
    ) -> tuple[bool, ...]:
        for key in ("circular", "order"):
            for name in about.get(key, ()):
                self._known(
                    name, names, f"{key!r} in about.json names an unknown factor", "factors"
                )
        circular = tuple(name in about.get("circular", ()) for name in names)
        for name, size, turns in zip(names, sizes, circular, strict=True):
            if turns and size < 3:
                raise self._error(
                    f"the factor {name!r} has only two values, so it cannot be circular",
                    "Remove it from 'circular' in about.json.",
                )
        return circular

    def _check_rows(self, names: tuple[str, ...], sizes: tuple[int, ...]) -> None:
        if math.prod(sizes) > _MOST_CELLS:
            most = max(range(len(sizes)), key=sizes.__getitem__)
            raise self._error(
                f"the factors have {math.prod(sizes):,} combinations of values, but transitions "
                f"can be found among at most {_MOST_CELLS:,}; {names[most]!r} alone has "
                f"{sizes[most]:,} values",
                'Round its values, or leave it out ("factors" in about.json).',
            )
        cell = np.asarray(np.ravel_multi_index(tuple(self._factors.T), sizes))
        order = np.argsort(cell, kind="stable")
        same = np.flatnonzero(np.diff(cell[order]) == 0)
        if len(same):
            one, other = (self._called(int(order[same[0] + i])) for i in (0, 1))
            raise self._error(
                f"{one} and {other} have the same factors, and so do {len(same) - 1:,} more pairs",
                "A transition needs one image for each row of factors: add a factor in which they "
                "differ, or keep only one of them.",
            )

    # Images

    def _called(self, row: int) -> str:
        return str(self._files[row]) if self._files else f"image {row}"

    def _shape(self) -> tuple[int, int, int]:
        image = self._read_image(self._files[0]) if self._images is None else self._images[0]
        height, width, channels = image.shape
        if not height or not width or height % _MULTIPLE or width % _MULTIPLE:
            raise self._error(
                f"images are {height} x {width}",
                f"Height and width must be multiples of {_MULTIPLE}: resize or pad the images.",
            )
        return height, width, channels

    def _read_image(self, path: Path) -> np.ndarray:
        try:
            with Image.open(path) as file:
                if file.mode == "P" and "transparency" not in file.info:
                    file = file.convert("RGB")
                if file.mode in ("L", "RGB"):
                    pixels = np.asarray(file)
                    return pixels[..., None] if file.mode == "L" else pixels
                mode = file.mode
        except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as error:
            raise self._error(
                f"the image {path} cannot be read ({error})", "Replace it or remove its line."
            ) from error
        raise self._error(
            f"the image {path} has mode {mode}", "Save images as 8-bit RGB or greyscale."
        )

    def _decoded(self) -> np.ndarray:
        place = hashlib.sha256(str(self._folder.resolve()).encode()).hexdigest()[:16]
        facts = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in self._files]
        content = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
        path = self._data_dir / "own" / f"{place}-{content}.npy"
        shape = (len(self._files), *self.info.image_shape)
        if not path.exists():
            try:
                with locked(path.parent / f"{place}.lock"):
                    if not path.exists():
                        for old in path.parent.glob(f"{place}-*"):
                            old.unlink()
                        self._decode(path, shape)
            except OSError as error:
                raise self._error(
                    f"its images could not be decoded into {path.parent} ({error})",
                    "Free disk space or make the folder writable, or choose another with "
                    "--data_dir or the environment variable CDIS_DATA_DIR.",
                ) from error
        try:
            images = np.asarray(np.load(path, mmap_mode="r"))
        except (OSError, ValueError, EOFError):
            images = np.empty(0)
        if images.shape != shape or images.dtype != np.uint8:
            raise self._error(f"the decoded copy {path} is damaged", "Delete it and try again.")
        return images

    def _decode(self, path: Path, shape: tuple[int, ...]) -> None:
        """Decode all image files into one array, written atomically."""
        progress = Progress(self._name, len(self._files), "decoded")
        draft = path.with_suffix(".incomplete")
        try:
            with open(draft, "wb") as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for image_file in self._files:
                    image = self._read_image(image_file)
                    if image.shape != shape[1:]:
                        raise self._error(
                            f"the image {image_file} is {_size(image.shape)}, but "
                            f"{self._files[0]} is {_size(shape[1:])}",
                            "Give all images one size, and make all of them greyscale or all RGB.",
                        )
                    file.write(image.tobytes())
                    progress.advance(1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)

    # Errors

    def _known(self, name: str, names: tuple[str, ...], what: str, kind: str = "fields") -> None:
        """Raise an error unless `name` is one of `names`."""
        if name not in names:
            raise self._error(
                f"{what}, {name!r}{near_miss(name, names)}", f"The {kind} are {', '.join(names)}."
            )

    def _error(self, what: str, advice: str) -> UserError:
        return UserError(f"{self._name}: {what}. {advice}")


def _is(folder: Path, name: str) -> bool:
    return (folder / name).is_file()


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _as_numbers(cells: np.ndarray) -> np.ndarray | None:
    """The cells as float64 if all are finite numbers, else None."""
    try:
        numbers = cells.astype(np.float64)
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def _some(kinds: np.ndarray) -> str:
    text = ", ".join(str(kind) for kind in kinds[:8])
    return text + (", ..." if len(kinds) > 8 else "")


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
