"""Matrices from files that the user supplies: .npy, .npz and .csv; and the flags beside them."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from cdis.errors import UserError


def read_matrix(path: str, names: tuple[str, ...]) -> Float[np.ndarray, "n columns"]:
    """The matrix in a file, one row per sample.

    Args:
      path: a .npy, .npz or .csv file. ``codes.npz:mu`` names an array in an .npz file. The first
        line of a .csv file may be a header.
      names: names to look for in an .npz file, if `path` gives none; an only array is always used.

    Returns:
      ``[n, columns]``. An array with more than two axes is flattened from the second axis on; a
      vector becomes a column. Integers stay integers, which InfoMEC treats as symbols.

    Raises:
      UserError: a missing file, another kind of file, a missing array, or anything not numeric.
    """
    place, key = _split(path)
    if not place.is_file():
        raise UserError(f"There is no file {place}. Give a .npy, .npz or .csv file.")
    kind = place.suffix.lower()
    if kind == ".csv":
        return _read_csv(place)
    if kind not in (".npy", ".npz"):
        raise UserError(f"{place} ends in {kind or 'nothing'}; give a .npy, .npz or .csv file.")
    try:
        loaded = np.load(place, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            array = loaded
        else:
            with loaded:
                array = loaded[_key(place, loaded.files, key, names)]
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise UserError(
            f"{place} cannot be read as {kind[1:]}: {error}. Write it with numpy.save or "
            "numpy.savez, as numbers."
        ) from error
    if array.dtype.kind not in "biuf" or array.ndim == 0 or array.size == 0:
        raise UserError(
            f"{place} holds an array of {array.dtype} with shape {list(array.shape)}; expected "
            "numbers, with one row per sample."
        )
    return array.reshape(len(array), -1)


def _split(path: str) -> tuple[Path, str | None]:
    """ "codes.npz:mu" -> codes.npz and mu."""
    file, colon, key = path.rpartition(":")
    if colon and file.lower().endswith(".npz"):
        return Path(file), key
    return Path(path), None


def _key(place: Path, keys: list[str], wanted: str | None, names: tuple[str, ...]) -> str:
    listed = ", ".join(keys) or "nothing"
    if wanted is not None:
        if wanted not in keys:
            raise UserError(f"{place} has no array {wanted!r}; it has {listed}.")
        return wanted
    found = [name for name in names if name in keys]
    if found:
        return found[0]
    if len(keys) == 1:
        return keys[0]
    raise UserError(
        f"{place} has no array called {' or '.join(names)}; it has {listed}. Name one of them "
        f"after a colon: {place}:NAME."
    )


def _read_csv(place: Path) -> np.ndarray:
    try:
        lines = place.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{place} cannot be read as text: {error}.") from error
    rows = [(number, line.split(",")) for number, line in enumerate(lines, 1) if line.strip()]
    if rows and not any(_is_number(cell) for cell in rows[0][1]):
        rows = rows[1:]  # a header
    if not rows:
        raise UserError(f"{place} has no rows of numbers.")
    width = len(rows[0][1])
    matrix = np.empty((len(rows), width))
    for index, (number, cells) in enumerate(rows):
        if len(cells) != width:
            raise UserError(
                f"{place}, line {number}: {len(cells)} columns, but the first row has {width}. "
                "Give every row the same number of columns, separated by commas."
            )
        for column, cell in enumerate(cells):
            if not _is_number(cell):
                raise UserError(
                    f"{place}, line {number}, column {column + 1}: {cell.strip()!r} is not a "
                    "number. Only the first line may be a header, and commas separate columns."
                )
            matrix[index, column] = float(cell)
    whole = all(cell.strip().lstrip("+-").isdigit() for _, cells in rows for cell in cells)
    return matrix.astype(np.int64) if whole else matrix


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def read_kinds(text: str | None, count: int) -> bool | list[bool] | None:
    """The flag --continuous for `count` factors, as `cdis.metrics.score` takes it.

    "all" -> True, "none" -> False, "0,3" -> a list of `count` booleans, None -> None.
    """
    if text is None or text in ("all", "none"):
        return None if text is None else text == "all"
    cells = [cell.strip() for cell in text.split(",")]
    if not all(cell.isdigit() and int(cell) < count for cell in cells):
        raise UserError(
            f"--continuous takes all, none, or columns between 0 and {count - 1}, such as 0,3; not "
            f"{text!r}."
        )
    return [str(factor) in cells for factor in range(count)]


def read_seed(text: str | None) -> int:
    """The flag --seed as an integer; 0 if it is not given."""
    if text is None:
        return 0
    if not text.isdigit():
        raise UserError(f"--seed takes a whole number, 0 or more; not {text!r}.")
    return int(text)
