"""Tables from files and from memory: columns of cells, and what is wrong with them.

Parquet, Feather and everything with the Arrow PyCapsule interface (pandas, polars, Arrow) is read
by pyarrow. CSV is read by Python's csv in strict mode: it knows the line of each row, and refuses a
quote that does not end, which pyarrow takes for text up to the end of the file.

Errors are `UserError`, without the name of the data set, which the caller puts in front.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
from jaxtyping import Bool, Float64

from cdis.errors import UserError

#: Endings of files that `read` reads.
ENDINGS = (".csv", ".tsv", ".parquet", ".feather")
#: Cells that stand for a missing label, in columns of text as well.
MISSING = ("", "nan", "NaN", "NA")
# From here on float64 does not hold every whole number.
_LIMIT = 2**53
_DELIMITERS = ",;\t"
_NUMBER = re.compile(r"[-+]?((\d+\.?\d*|\.\d+)(e[-+]?\d+)?|inf(inity)?)", re.ASCII | re.IGNORECASE)
_TRUTHS = ({"true": 1.0, "false": 0.0}, {"yes": 1.0, "no": 0.0})


class Table(NamedTuple):
    """Columns of equal length by name, and where a row stands: "line 7 of factors.csv"."""

    columns: dict[str, pa.Array]
    place: Callable[[int], str]


class Cells(NamedTuple):
    """The labels in a column of n rows.

    `numbers` is float64 [n], NaN where a label is missing; None if some label is not a number.
    `texts` is str [n] (an array of objects), "" where a label is missing; None if the column is not
    text. True and yes are 1, false and no are 0.
    """

    numbers: Float64[np.ndarray, " n"] | None
    texts: np.ndarray | None

    @property
    def missing(self) -> Bool[np.ndarray, " n"]:
        """Which labels are missing."""
        if self.numbers is not None:
            return np.isnan(self.numbers)
        assert self.texts is not None
        return self.texts == ""


def read(path: Path) -> Table:
    """The table in a file with one of `ENDINGS`. Raises `UserError`."""
    try:
        if path.suffix in (".csv", ".tsv"):
            return _read_csv(path)
        if path.suffix == ".parquet":
            table = pyarrow.parquet.ParquetFile(path).read()
        else:
            table = pyarrow.feather.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(
            f"{path.name} cannot be read ({_one_line(error)}). Save it again as "
            f"{path.suffix.removeprefix('.')}."
        ) from error
    return of(table, lambda row: f"row {row} of {path.name}")


def of(table: Any, place: Callable[[int], str] = lambda row: f"row {row} of the table") -> Table:
    """A table in memory: pandas, polars, Arrow, or a dict of columns. Raises `UserError`."""
    try:
        arrow = pa.table(table)
        arrow.validate(full=True)  # of damaged files, too
    except (TypeError, ValueError, OverflowError, pa.ArrowException) as error:
        raise UserError(
            f"the table cannot be read ({_one_line(error)}). Give a pandas, polars or Arrow table, "
            "or a dict of columns, each of one type and with a name of its own."
        ) from error
    # pandas sends its index along, if that is not 0, 1, ...
    names = [name for name in arrow.column_names if not name.startswith("__index_level_")]
    _check_names(names, "the table")
    columns = {name: arrow.column(name).combine_chunks() for name in names}
    if not arrow.num_rows:
        raise UserError("the table lists no images. Give it one row for each image.")
    return Table(columns, place)


def _read_csv(path: Path) -> Table:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"line {line} of {path.name} is not UTF-8 text. Save the file as UTF-8."
        ) from error
    if (nul := text.find("\0")) >= 0:
        line = text.count("\n", 0, nul) + 1
        raise UserError(
            f"line {line} of {path.name} has a NUL character. Save the file as UTF-8 text."
        )
    first = text.lstrip().partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)  # the first of several that are equally frequent
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not cells:
                continue
            if not header:
                header = cells
                _check_names(header, f"the first line of {path.name}")
            elif len(cells) != len(header):
                raise UserError(
                    f"line {reader.line_num} of {path.name} has {len(cells)} cells, but the first "
                    f"line names {len(header)} columns. Give every image a cell in each column; it "
                    "may be empty."
                )
            else:
                rows.append(cells)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise UserError(
            f"line {reader.line_num} of {path.name} cannot be read ({error}). Correct its quotes."
        ) from error
    if not rows:
        raise UserError(f"{path.name} lists no images. Write a header line, then a line per image.")
    columns = {}
    for name, column in zip(header, zip(*rows, strict=True), strict=True):
        columns[name] = pa.array(_with_points(column) if delimiter == ";" else column)
    return Table(columns, lambda row: f"line {lines[row]} of {path.name}")


def _check_names(names: list[str], where: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or not all(names):
        what = f"names {short(twice[0])} twice" if twice else "has a column without a name"
        raise UserError(f"{where} {what}. Give each column a name of its own.")


def _with_points(column: Sequence[str]) -> Sequence[str]:
    """Decimal commas as points, where that makes all cells numbers: programs write 1,5;2,5."""
    pointed = [cell.replace(",", ".") for cell in column]
    return pointed if all(c in MISSING or _NUMBER.fullmatch(c) for c in pointed) else column


def cells(table: Table, name: str, *, as_text: bool = False) -> Cells:
    """The labels in a column. Raises `UserError`.

    With `as_text`, a column of text may have cells that are not numbers beside many that are.
    """
    column = _plain(table, name)
    types, kind = pa.types, column.type
    if _is_text(kind):
        texts = np.array([_label(cell) for cell in column.to_pylist()], object)
        numbers = _numbers(table, name, texts, as_text=as_text)
        if numbers is None:
            return Cells(None, texts)
    elif (
        types.is_boolean(kind)
        or types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_null(kind)
    ):
        texts = None
        numbers = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    else:
        raise UserError(
            f"the column {short(name)} holds {kind}, neither numbers nor text. Convert it, or "
            'leave it out with "factors".'
        )
    large = np.flatnonzero(np.abs(numbers) >= _LIMIT)
    if len(large):
        row = int(large[0])
        cell = short(table.columns[name][row].as_py())
        reason = "infinite" if np.isinf(numbers[row]) else "beyond 2^53, too large to be exact"
        raise UserError(
            f"{table.place(row)} has {cell} in the column {short(name)}, which is {reason}. "
            "Correct it, use another unit, or leave the cell empty if the label is missing."
        )
    return Cells(numbers, texts)


def _plain(table: Table, name: str) -> pa.Array:
    column = table.columns[name]
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _is_text(kind: pa.DataType) -> bool:
    return (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _label(cell: str | None) -> str:
    """A cell without the space around it; "" if the label is missing."""
    text = "" if cell is None else cell.strip()
    return "" if text in MISSING else text


def _numbers(table: Table, name: str, texts: np.ndarray, *, as_text: bool) -> np.ndarray | None:
    """Texts as float64, NaN for ""; None if they are not all numbers, or all true or false."""
    words = {text.lower() for text in texts if text}
    for truth in _TRUTHS:
        if words and words <= truth.keys():
            return np.array([truth[text.lower()] if text else np.nan for text in texts])
    fits = np.array([bool(not text or _NUMBER.fullmatch(text)) for text in texts])
    if fits.all():
        return np.array([float(text) if text else np.nan for text in texts])
    known, row = int((texts != "").sum()), int(np.argmin(fits))
    others = known - int((~fits).sum())
    if not as_text and 2 * others > known:
        raise UserError(
            f"{table.place(row)} has {short(texts[row])} in the column {short(name)}, where "
            f"{others:,} other cells are numbers. Correct it, leave it empty if the label is "
            "missing, or make the column \"categorical\" among 'kinds'."
        )
    return None


def texts(table: Table, name: str) -> list[str]:
    """A column of names, such as those of files or splits. Raises `UserError` for an empty cell."""
    found = [
        _label(None if cell is None else str(cell)) for cell in _plain(table, name).to_pylist()
    ]
    if "" in found:
        raise UserError(
            f"{table.place(found.index(''))} has no {short(name)}. Give every image one, or leave "
            "the line out."
        )
    return found


def short(value: Any) -> str:
    """A value of the user's in a message: quoted, and cut to a few dozen characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:40]}... ({len(str(value)):,} characters)"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")
