"""The user's own images: a folder, `own:FOLDER` in place of a data set's name, or arrays in Python.

The folder holds images and their factors in one of these forms:

  images.npy, factors.npy    uint8 [n, H, W, C] and numbers [n, F]
  data.npz                   the same two arrays, named images and factors
  factors.csv                a header line, then one line per image. A column "image" gives the path
                             of each image file within the folder; or images.npy holds the images,
                             in the order of the lines. Also factors.tsv, .parquet and .feather

and optionally about.json (`cdis.data.own_schema.About`). own_data.md is the user's page.

A discrete factor's values are sorted, as numbers if all of them are, else as text by Unicode,
unless "order" says otherwise; a value's index is its position in that order, and a step leads to
the next value that occurs. `Dataset.values` holds the number, or the index of a text.

images.npy is memory-mapped; data.npz is read into memory at every start. Image files are decoded
once, into one array in the data directory that is memory-mapped, and again when a file changes.
"""

import contextlib
import functools
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int, UInt8

from cdis.data import arrays, decoding, own_factors, own_schema, tables
from cdis.data.builder import SPLITS
from cdis.data.decoding import Decoding
from cdis.data.info import Dataset, Info
from cdis.data.lookup import OWN
from cdis.data.own_schema import About, known
from cdis.data.tables import Table, short
from cdis.data.transitions import combinations
from cdis.errors import UserError, near_miss
from cdis.files import locked

_IMAGES, _FACTORS, _BOTH = "images.npy", "factors.npy", "data.npz"
_TABLES = tuple(f"factors{ending}" for ending in tables.ENDINGS)
_Size = tuple[int, int]


class Own:
    """A folder of the user's own images. The constructor raises `UserError` for a faulty folder."""

    def __init__(self, name: str, data_dir: Path) -> None:
        folder, resize = _place(name)
        with _named(name):
            about = own_schema.read(folder)
            table, images, about = _contents(folder, about)
            description = about.description or f"Your own images, from {folder}."
            if images is None:
                files = _find_files(folder, table, about.image)
                self._images: _Files | np.ndarray = _Files(name, folder, files, resize, data_dir)
            else:
                self._images = images
            self._labels = _Labels(name, table, about, folder)
            if images is not None:
                _check_images(images, self._labels.count, resize)
            self.info = self._labels.info(self._images.shape[1:], description)

    def prepare(self) -> None:
        """Decode the image files, unless that has been done."""
        self.load()

    def prepared(self) -> Dataset:
        """The data set, decoded first if need be."""
        return self.load()

    def load(self, feed: str = "auto") -> Dataset:
        """The data set. Raises `UserError` for an image that is unreadable or of another size."""
        with _named(self.info.name):
            if feed == "records":
                raise UserError("a folder of images has no record files. Leave --feed out.")
            images = self._images.decoded() if isinstance(self._images, _Files) else self._images
            return self._labels.dataset(self.info, images)


def from_arrays(
    images: UInt8[np.ndarray, "n h w c"],
    factors: Float[np.ndarray, "n f"] | Int[np.ndarray, "n f"],
    *,
    names: Sequence[str] | None = None,
    split: Sequence[str] | None = None,
    group: Sequence[Any] | None = None,
    name: str = "arrays",
    **about: Any,
) -> Dataset:
    """Images and their factors in memory as a data set, for `cdis.train(..., dataset=...)`.

    Args:
      images: uint8 ``[n, H, W, C]``, levels from 0 to 255; C is 1 (greyscale) or 3.
      factors: ``[n, F]``, one row of numbers for each image; NaN where a label is missing.
      names: of the F factors; by default factor_0, factor_1, ...
      split: the split of each image, "train", "validation" or "test".
      group: the group of each image, such as a person; a group is in one split.
      name: of the data set.
      **about: the other fields of about.json, such as ``kinds={"x": "continuous"}`` and
        ``graph=[("x", "y")]``; see own_data.md.

    Raises:
      UserError: the arrays do not fit together, or a field is wrong.
    """
    with _named(name):
        fields = own_schema.of(about | ({} if names is None else {"factors": names}))
        table, fields = _of_array(np.asarray(factors), fields)
        return _in_memory(name, np.asarray(images), table, fields, split, group)


def from_table(
    table: Any,
    *,
    images: UInt8[np.ndarray, "n h w c"] | None = None,
    folder: str | os.PathLike | None = None,
    resize: _Size | int | None = None,
    split: str | Sequence[str] | None = None,
    group: str | Sequence[Any] | None = None,
    name: str = "arrays",
    data_dir: str | None = None,
    **about: Any,
) -> Dataset:
    """Images and a table of their factors as a data set, for `cdis.train(..., dataset=...)`.

    Args:
      table: a pandas, polars or Arrow table with a row for each image, or a dict of columns.
      images: uint8 ``[n, H, W, C]``, in the order of the rows; or give `folder`.
      folder: where the image files are whose paths the column "image" holds. They are decoded once,
        into `data_dir`.
      resize: height and width to which image files are resized, or one number for both.
      split: a column, or the split of each image: "train", "validation" or "test".
      group: a column, or the group of each image, such as a person; a group is in one split.
      name: of the data set.
      data_dir: where data sets are kept; see `cdis.data.prepare`.
      **about: the other fields of about.json, such as ``kinds={"x": "continuous"}`` and
        ``graph=[("x", "y")]``; see own_data.md.

    Raises:
      UserError: table and images do not fit together, or a field is wrong.
    """
    from cdis.data import directory

    with _named(name):
        columns = {"split": split, "group": group}
        columns = {field: value for field, value in columns.items() if isinstance(value, str)}
        fields, read = own_schema.of(about | columns), tables.of(table)
        if (images is None) == (folder is None):
            raise UserError("images and folder are both given, or neither. Give one of them.")
        if folder is not None:
            home = Path(folder).expanduser()
            files = _find_files(home, read, fields.image)
            resize = (resize, resize) if isinstance(resize, int) else resize
            images = _Files(name, home, files, resize, directory(data_dir), "table").decoded()
        split, group = (None if isinstance(given, str) else given for given in (split, group))
        return _in_memory(name, np.asarray(images), read, fields, split, group)


def _in_memory(
    name: str,
    images: np.ndarray,
    table: Table,
    about: About,
    split: Sequence[str] | None,
    group: Sequence[Any] | None,
) -> Dataset:
    labels = _Labels(name, table, about, None, split, group)
    _check_images(images, labels.count, None)
    description = about.description or "Your own images."
    return labels.dataset(labels.info(images.shape[1:], description), images)


class _Labels:
    """The factors and the splits of n images."""

    def __init__(
        self,
        name: str,
        table: Table,
        about: About,
        folder: Path | None,
        split: Sequence[str] | None = None,
        group: Sequence[Any] | None = None,
    ) -> None:
        self._name, self._about = name, about
        self.names = _factor_names(table, about)
        factors = []
        for factor in self.names:
            cells = tables.cells(table, factor, as_text=about.kinds.get(factor) == "categorical")
            factors.append(own_factors.factor(factor, cells, about, table.place))
        self._sizes = tuple(factor.size for factor in factors)
        self._factors = np.stack([factor.index for factor in factors], axis=1).astype(np.int32)
        values = np.stack([factor.values for factor in factors], axis=1)
        self._values = values.astype(np.float32)
        self._unordered = tuple(
            name for name, factor in zip(self.names, factors, strict=True) if factor.unordered
        )
        self._value_names = tuple(factor.names for factor in factors)
        self._mean, self._std = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
        self.count = len(values)
        unlabelled = np.isnan(values).any(axis=1)
        self._notes = []
        if unlabelled.all():
            raise UserError('no image has all of its labels. Leave out a factor with "factors".')
        if unlabelled.any():
            missing = dict(zip(self.names, np.isnan(values).sum(axis=0), strict=True))
            listed = ", ".join(f"{name} {number:,}" for name, number in missing.items() if number)
            self._notes.append(
                f"{int(unlabelled.sum()):,} of {self.count:,} images lack labels ({listed})"
            )
        self._partly_labelled = bool(unlabelled.any())
        self._repeats = False
        if 0 not in self._sizes:
            rows = self._factors[~unlabelled]
            self._repeats = len(np.unique(combinations(rows, self._sizes))) < len(rows)
        self._split = self._split_of(table, folder, split, group)

    def _split_of(
        self,
        table: Table,
        folder: Path | None,
        split: Sequence[str] | None,
        group: Sequence[Any] | None,
    ) -> np.ndarray:
        about, place = self._about, table.place
        if about.group is not None:
            known(about.group, table.columns, "group", "columns")
            group = tables.texts(table, about.group)
        if about.split in table.columns:
            split = tables.texts(table, about.split)
        elif about.split is not None:
            within = folder is not None and os.path.basename(about.split) == about.split
            path = os.path.join(folder or "", about.split)
            if not (within and os.path.isfile(path)):
                known(about.split, table.columns, "split", "columns")
            split, place = _split_file(Path(path))
        for field, given in (("split", split), ("group", group)):
            if given is not None and len(given) != self.count:
                raise UserError(
                    f"{field!r} has {len(given):,} entries for {self.count:,} images. Give each "
                    "image one."
                )
        words = None if split is None else [str(word).strip() for word in split]
        member = None if group is None else [str(one) for one in group]
        found = own_factors.split(self.count, words, member, place)
        if found.note:
            self._notes.append(found.note)
        return found.split

    def info(self, image_shape: tuple[int, ...], description: str) -> Info:
        """Facts about these images."""
        height, width, channels = image_shape
        about = self._about
        return Info(
            name=self._name,
            factor_names=self.names,
            factor_sizes=self._sizes,
            circular=tuple(name in about.circular for name in self.names),
            image_shape=(height, width, channels),
            licence=about.licence,
            citation=about.citation,
            description=description,
            count=self.count,
            graph=(None if about.graph is None else own_schema.adjacency(self.names, about.graph)),
            value_mean=tuple(self._mean.tolist()),
            value_std=tuple(self._std.tolist()),
            unordered=self._unordered,
            repeats=self._repeats,
            partly_labelled=self._partly_labelled,
            value_names=self._value_names if any(self._value_names) else (),
        )

    def dataset(self, info: Info, images: np.ndarray) -> Dataset:
        """The data set of these images. Says once what the user should know of its labels."""
        for note in self._notes:
            _say(f"{self._name}: {note}.")
        splits = {name: np.flatnonzero(self._split == part) for part, name in enumerate(SPLITS)}
        return Dataset(info, images, self._factors, splits, self._values)


class _Files:
    """Image files in a folder, decoded once into an array in the data directory."""

    def __init__(
        self,
        name: str,
        folder: Path,
        files: list[Path],
        resize: _Size | None,
        data_dir: Path,
        use: str = "",
    ) -> None:
        self._name, self._files, self._resize = name, files, resize
        # One copy is kept of each folder, size and use.
        key = f"{folder.resolve()}{resize or ''}{use}"
        facts = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        content = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
        self._place = hashlib.sha256(key.encode()).hexdigest()[:16]
        self._path = data_dir / "own" / f"{self._place}-{content}.npy"

    @functools.cached_property
    def _decoding(self) -> Decoding:
        with _reading():
            return decoding.survey(self._files, self._resize)

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, H, W, C], of the decoded copy if there is one, else from the headers of all files."""
        copy = self._copy()
        return (len(self._files), *self._decoding.shape) if copy is None else copy.shape

    def decoded(self) -> UInt8[np.ndarray, "n h w c"]:
        """All images, decoded if need be. Raises `UserError`."""
        try:
            with locked(self._path.parent / f"{self._place}.lock"):
                images = self._copy()
                if images is None:
                    for note in self._decoding.notes:
                        _say(f"{self._name}: {note}.")
                    for old in self._path.parent.glob(f"*{self._place}-*"):  # also of killed runs
                        old.unlink()
                    with _reading():
                        decoding.decode(
                            self._name, self._files, self._decoding, self._resize, self._path
                        )
                    images = self._copy()
        except OSError as error:
            raise UserError(
                f"its images could not be decoded into {self._path.parent} ({error}). Free disk "
                "space or make the folder writable, or choose another with --data_dir or the "
                "environment variable CDIS_DATA_DIR."
            ) from error
        assert images is not None
        return images

    def _copy(self) -> np.ndarray | None:
        if not self._path.exists():
            return None
        try:
            images = arrays.read_npy(self._path, "decoded images")
        except ValueError:
            images = np.empty(0)
        if images.ndim != 4 or len(images) != len(self._files) or images.dtype != np.uint8:
            raise UserError(f"the decoded copy {self._path} is damaged. Delete it and try again.")
        return images


# The folder


def _place(name: str) -> tuple[Path, _Size | None]:
    """The folder in a data set's name, and height and width if it ends in @64 or @64x78."""
    text, resize = name.removeprefix(OWN), None
    match = re.fullmatch(r"(.+)@([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", text)
    if match and not os.path.isdir(os.path.expanduser(text)):
        text, height, width = match.groups()
        resize = (int(height), int(width or height))
    folder = os.path.expanduser(text)
    if not text or not os.path.isdir(folder):
        raise UserError(
            f"{name[:200]}: the folder {os.path.abspath(folder)[:200]} does not exist. Give the "
            f"path of a folder as {OWN}PATH, or as {OWN}PATH@HEIGHTxWIDTH to resize its images."
        )
    return Path(folder), resize


def _contents(folder: Path, about: About) -> tuple[Table, np.ndarray | None, About]:
    """The table in a folder; its images, if they are an array; and what holds of the table."""
    here = {name for name in (_BOTH, _IMAGES, _FACTORS, *_TABLES) if (folder / name).is_file()}
    written = here & set(_TABLES)
    images = _read_npy(folder / _IMAGES) if _IMAGES in here else None
    if here == {_BOTH}:
        with _reading("Save it with numpy.savez(..., images=images, factors=factors)."):
            found = arrays.read_npz(folder / _BOTH, ("images", "factors"))
        table, about = _of_array(found["factors"], about)
        return table, found["images"], about
    if here == {_IMAGES, _FACTORS}:
        table, about = _of_array(_read_npy(folder / _FACTORS), about)
        return table, images, about
    if len(written) == 1 and here <= written | {_IMAGES}:
        return tables.read(folder / min(written)), images, about
    raise UserError(
        f"the folder holds {' and '.join(sorted(here)) or 'no data'}. It must hold exactly one of: "
        f"{_IMAGES} and {_FACTORS}; {_BOTH}; factors.csv and image files; factors.csv and "
        f"{_IMAGES}. In place of factors.csv, there may be {', '.join(_TABLES[1:])}."
    )


def _read_npy(path: Path) -> np.ndarray:
    with _reading("Save it with numpy.save."):
        return arrays.read_npy(path, path.name)


def _of_array(factors: np.ndarray, about: About) -> tuple[Table, About]:
    """An array of factors as a table, whose columns "factors" has named."""
    if factors.ndim != 2 or factors.dtype.kind not in "biuf":
        raise UserError(
            f"factors are {factors.dtype} {list(factors.shape)}, not numbers [n, F]. Give a row of "
            "numbers for each image, or a table, whose columns may be text."
        )
    width = factors.shape[1]
    names = about.factors or [f"factor_{i}" for i in range(width)]
    if len(names) != width or len(set(names)) < width:
        raise UserError(
            f"'factors' has {len(set(names))} names for {width} factors. Give each column a name "
            "of its own."
        )
    columns = {name: pa.array(column) for name, column in zip(names, factors.T, strict=True)}
    table = Table(columns, lambda row: f"row {row} of the factors")
    return table, about.model_copy(update={"factors": None})


def _find_files(folder: Path, table: Table, column: str) -> list[Path]:
    """The image files that a column names, each once, all within the folder."""
    if column not in table.columns:
        raise UserError(
            f"the table has no column {short(column)}{near_miss(column, table.columns)}, and "
            f"{_IMAGES} is missing. Add the column, with the path of each image file relative to "
            "the folder."
        )
    names, root = tables.texts(table, column), os.path.realpath(folder)
    parents: dict[str, str] = {}
    found: dict[str, int] = {}
    missing = []
    for row, name in enumerate(names):
        parent, base = os.path.split(os.path.normpath(name))
        try:
            # Links are followed, those of a folder once.
            if parent not in parents:
                parents[parent] = os.path.realpath(os.path.join(root, parent))
            path = os.path.join(parents[parent], base)
            if os.path.islink(path):
                path = os.path.realpath(path)
            there = os.path.isfile(path)
        except (OSError, ValueError):  # too long, a loop of links, a NUL or a surrogate
            path, there = os.path.join(root, base), False
        if os.path.commonpath([root, path]) != root:
            raise UserError(
                f"{table.place(row)} names the image {short(name)}, which is outside the folder. "
                "Give a path within it."
            )
        if not there:
            missing.append(row)
        elif path in found:
            raise UserError(
                f"{table.place(row)} lists {short(name)} twice: {table.place(found[path])} has it "
                "already. Give each image exactly one line."
            )
        found[path] = row
    if missing:
        raise UserError(
            f"{len(missing):,} of {len(names):,} image files are missing, first "
            f"{short(names[missing[0]])} on {table.place(missing[0])}. Add them, or correct the "
            f"column {short(column)}: its paths are relative to the folder."
        )
    return [Path(path) for path in found]


def _split_file(path: Path) -> tuple[list[str], Callable[[int], str]]:
    """The split of each image in a file, and where a row stands in it."""
    if path.suffix == ".npy":
        words = _read_npy(path)
        if words.ndim != 1 or words.dtype.kind != "U":
            raise UserError(
                f"{path.name} is {words.dtype} {list(words.shape)}, not one word for each image. "
                'Save an array of "train", "validation" and "test".'
            )
        return words.tolist(), lambda row: f"entry {row} of {path.name}"
    table = tables.read(path)
    column = "split" if len(table.columns) > 1 else min(table.columns)
    known(column, table.columns, "split", f"columns of {path.name}")
    return tables.texts(table, column), table.place


def _check_images(images: np.ndarray, count: int, resize: _Size | None) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise UserError(
            f"images are {images.dtype} {list(images.shape)}, not uint8 [n, H, W, 1 or 3]. Save "
            "levels from 0 to 255 as numpy.uint8, channels last; a greyscale image has one channel."
        )
    if not images.size:
        raise UserError(f"images are {list(images.shape)}, without a pixel. Save them again.")
    if resize is not None:
        raise UserError("only image files can be resized. Resize the array, or leave the @ out.")
    if len(images) != count:
        raise UserError(
            f"it has {len(images):,} images but {count:,} rows of factors. Give each image one row "
            "of factors, in the same order."
        )


def _factor_names(table: Table, about: About) -> tuple[str, ...]:
    """The columns that are factors. Checks all fields that name factors."""
    columns = [name for name in table.columns if name != about.image]
    others = {about.split, about.group}
    names = [name for name in columns if name not in others]
    if about.factors is not None:
        for name in about.factors:
            known(name, columns, "factors", "columns")
        if len(set(about.factors)) < len(about.factors):
            raise UserError("'factors' names a factor twice. Remove one of the two.")
        names = list(about.factors)
    if not names:
        raise UserError("the data has no factors. Give each image at least one.")
    for field, named in (
        ("circular", about.circular),
        ("order", about.order),
        ("kinds", about.kinds),
    ):
        for name in named:
            known(name, names, field)
    own_schema.check_graph(names, about.graph or ())
    return tuple(names)


# Messages


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """Put the name of the data set in front of an error."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{name}: {error}") from error


@contextlib.contextmanager
def _reading(advice: str = "") -> Iterator[None]:
    """Faults of files, which `cdis.data.arrays` and `cdis.data.decoding` report as ValueError."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{str(error).rstrip('.')}. {advice}".rstrip()) from error


@functools.cache
def _say(line: str) -> None:
    """Tell the user, once in the life of the process."""
    print(line, file=sys.stderr, flush=True)
