"""Retrieval on any number of pairs of image files: pairs in, a CSV of answers out.

Nothing but a few batches is in memory at a time. Threads decode the images of the next batches
while one is being answered.
"""

import csv
import io
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from cdis.data.info import Info
from cdis.errors import UserError, near_miss
from cdis.image_files import read_image
from cdis.ops.actions import read_steps, shortest_way, steps_text
from cdis.run import Run
from cdis.trained import BATCH

_THREADS = 4
_BATCHES_AHEAD = 2


class Pair(NamedTuple):
    """Two image files, before and after an action."""

    x: str  #: as the user names it
    y: str
    folder: Path  #: that x and y are relative to
    action: str | None = None  #: the true one, if it is known, or the true steps
    source: str = ""  #: where the pair was named, for messages: "pairs.csv, line 7: "


class Pairs(NamedTuple):
    """Pairs that can be walked over several times."""

    read: Callable[[], Iterator[Pair]]
    have_actions: bool
    count: int


def from_csv(path: str, info: Info, max_steps: int | None = None) -> Pairs:
    """The pairs of a CSV file: columns x, y and optionally action, and others, which are ignored.

    With `max_steps`, the column "action" holds up to so many steps, such as "hue+2 x-1". Paths are
    absolute, or relative to the folder of the file. All rows are checked first, so that a mistake
    in the last one does not cost the time of all before it.

    Raises `UserError`, which names the line, for a missing column or value, an unknown action, or
    an image file that does not exist.
    """
    columns = _header(path)
    for name in ("x", "y"):
        if name not in columns:
            raise UserError(
                f"{path} has no column {name!r}{near_miss(name, columns)}. Its first line names "
                f"the columns x, y and, if known, action; it says: {', '.join(columns)}."
            )

    def read() -> Iterator[Pair]:
        return _rows(path, columns)

    count = 0
    for pair in read():
        _check(pair, info, max_steps)
        count += 1
    if not count:
        raise UserError(f"{path} has no pairs: no line follows the first.")
    return Pairs(read, "action" in columns, count)


def from_folders(folder_x: str, folder_y: str) -> Pairs:
    """Files of equal name in two folders make a pair.

    Raises `UserError` if the folders do not have the same files, or none.
    """
    names, others = (
        {entry.name for entry in os.scandir(folder) if not entry.name.startswith(".")}
        for folder in (folder_x, folder_y)
    )
    if alone := sorted(names ^ others):
        folder, other = (folder_x, folder_y) if alone[0] in names else (folder_y, folder_x)
        more = f" ({len(alone)} files have no partner)" if len(alone) > 1 else ""
        raise UserError(
            f"{folder} has a file {alone[0]}, but {other} has none{more}. Files of equal name make "
            "a pair: remove the others, or list the pairs in a CSV file and give it as --pairs."
        )
    if not names:
        raise UserError(f"{folder_x} and {folder_y} are empty. Give two folders of images.")
    ordered = sorted(names)

    def read() -> Iterator[Pair]:
        for name in ordered:
            yield Pair(os.path.join(folder_x, name), os.path.join(folder_y, name), Path())

    return Pairs(read, False, len(ordered))


def answer(
    run: Run,
    pairs: Pairs,
    write: Callable[[bytes], object],
    advance: Callable[[int], object],
) -> Int[np.ndarray, "a a"]:
    """Retrieve the action of every pair.

    Args:
      run: what retrieves.
      pairs: of image files that `run` can read.
      write: called with the parts of a CSV file, which has a line for each pair: x, y, answer, its
        probability, the probability of each action and, if it is known, the true action.
      advance: called with the number of pairs that have been answered since the last call.

    Returns:
      Number of pairs by true action and answer; all zero if true actions are not known.

    Raises:
      UserError: an image that cannot be read or is not like those that were trained on.
    """
    names = run.actions
    confusion = np.zeros((len(names),) * 2, np.int64)
    known = ["action"] if pairs.have_actions else []
    write(_lines([["x", "y", "answer", "probability", *names, *known]]))
    for batch, x, y in _decoded(pairs.read(), run.info):
        probabilities, rows = run.retrieve(x, y), []
        for pair, row, k in zip(batch, probabilities, probabilities.argmax(axis=1), strict=True):
            shown = [f"{probability:.6g}" for probability in row]
            rows.append([pair.x, pair.y, names[k], shown[k], *shown])
            if pair.action is not None:
                rows[-1].append(pair.action)
                confusion[names.index(pair.action), k] += 1
        write(_lines(rows))
        advance(len(batch))
    return confusion


def answer_steps(
    run: Run,
    pairs: Pairs,
    write: Callable[[bytes], object],
    advance: Callable[[int], object],
    max_steps: int,
) -> Int[np.ndarray, "s 2"]:
    """Retrieve the steps between every pair, up to `max_steps` in all; otherwise as `answer`.

    The lines hold x, y, answer, its probability, the steps of each factor and, if they are known,
    the true ones.

    Returns:
      By number of true steps, from 0 to `max_steps`: the number of pairs, and of those that were
      answered with exactly these steps.
    """
    info = run.info
    counts = np.zeros((max_steps + 1, 2), np.int64)
    known = ["action"] if pairs.have_actions else []
    write(_lines([["x", "y", "answer", "probability", *info.factor_names, *known]]))
    for batch, x, y in _decoded(pairs.read(), info):
        found, rows = run.retrieve_steps(x, y, max_steps), []
        for pair, steps, probability in zip(batch, *found, strict=True):
            text = steps_text(steps.tolist(), info.factor_names)
            rows.append([pair.x, pair.y, text, f"{probability:.6g}", *map(str, steps)])
            if pair.action is not None:
                rows[-1].append(pair.action)
                true = _true_steps(pair.action, info)
                counts[np.abs(true).sum()] += (1, np.array_equal(steps, true))
        write(_lines(rows))
        advance(len(batch))
    return counts


def _true_steps(text: str, info: Info) -> Int[np.ndarray, " f"]:
    return shortest_way(read_steps(text, info.factor_names), info.factor_sizes, info.circular)


def _lines(rows: list[list[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _header(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return [name.strip() for name in next(csv.reader(file), [])]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path} cannot be read: {error}. Give a CSV file with the columns x, y and, if known, "
            "action."
        ) from error


def _rows(path: str, columns: list[str]) -> Iterator[Pair]:
    folder = Path(path).parent
    with open(path, encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file)
        next(lines)
        for values in filter(None, lines):
            source = f"{path}, line {lines.line_num}: "
            row = dict(zip(columns, values, strict=False))
            for name in {"x", "y", "action"}.intersection(columns):
                if not row.get(name):
                    raise UserError(f"{source}there is no {name}. Fill it in, or remove the line.")
            yield Pair(row["x"], row["y"], folder, row.get("action"), source)


def _check(pair: Pair, info: Info, max_steps: int | None) -> None:
    try:
        if pair.action is not None and max_steps is not None:
            length = np.abs(_true_steps(pair.action, info)).sum()
            if length > max_steps:
                raise UserError(
                    f"{pair.action!r} are {length} steps, but at most {max_steps} are looked for. "
                    "Raise --steps, or remove the line."
                )
        elif pair.action is not None and pair.action not in info.action_names:
            info.action_index(pair.action)
    except UserError as error:
        raise UserError(f"{pair.source}{error}") from error
    for name in (pair.x, pair.y):
        if not os.path.isfile(os.path.join(pair.folder, name)):
            raise UserError(
                f"{pair.source}there is no file {os.path.join(pair.folder, name)}. Paths are "
                "absolute, or relative to the folder of the CSV file."
            )


def _decoded(
    pairs: Iterable[Pair], info: Info
) -> Iterator[tuple[list[Pair], UInt8[np.ndarray, "b h w c"], UInt8[np.ndarray, "b h w c"]]]:
    """Batches of pairs with their images, decoded ahead by threads."""
    pairs = iter(pairs)
    waiting: deque[tuple[list[Pair], list[Future]]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            while batch := list(itertools.islice(pairs, BATCH)):
                waiting.append((batch, [pool.submit(_read, pair, info) for pair in batch]))
                if len(waiting) > _BATCHES_AHEAD:
                    yield _stacked(*waiting.popleft())
            while waiting:
                yield _stacked(*waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def _stacked(
    batch: list[Pair], images: list[Future]
) -> tuple[list[Pair], UInt8[np.ndarray, "b h w c"], UInt8[np.ndarray, "b h w c"]]:
    x, y = zip(*(future.result() for future in images), strict=True)
    return batch, np.stack(x), np.stack(y)


def _read(pair: Pair, info: Info) -> tuple[np.ndarray, np.ndarray]:
    try:
        x, y = (read_image(os.path.join(pair.folder, name), info) for name in (pair.x, pair.y))
    except UserError as error:
        raise UserError(f"{pair.source}{error}") from error
    return x, y
