"""Transitions: pairs of images between which one factor moves by one step.

If each combination of values occurs once, every such pair is a transition. If several images share
a combination (photographs and their attributes, `Info.repeats`), there are too many pairs, millions
between two frequent combinations; transitions are then a sample without replacement: the images of
two combinations one step apart are matched one to one at random, until the smaller of the two runs
out of images.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64, UInt64

from cdis.data.info import Dataset, Info
from cdis.ops import actions

# A table of all combinations, of 8 bytes each, finds images faster than a search does.
_MOST_DENSE = 50_000_000
# Numbers of combinations are int64.
_MOST_NUMBERED = 2**62


class Transitions(NamedTuple):
    """P directed pairs of images and the actions that lead from x to y.

    `x` and `y` are indices of images (int64 [P]); `action` is int32 [P], numbered as in
    `cdis.ops.actions`.
    """

    x: Int64[np.ndarray, " p"]
    y: Int64[np.ndarray, " p"]
    action: Int32[np.ndarray, " p"]


def build(
    factors: Int32[np.ndarray, "n f"],
    info: Info,
    index: Int64[np.ndarray, " m"],
    *,
    seed: int = 0,
) -> Transitions:
    """Directed one-step pairs with both ends in `index`, ordered by action, then as `index`.

    All such pairs; or, if images repeat factors, a sample that depends on `seed`, in which for each
    action an image is at most once the first and at most once the second of a pair. For each pair,
    the opposite one is included. Non-circular factors do not step past their ends; circular ones
    wrap. Pairs never cross splits if `index` holds the images of one split.

    Raises:
      UserError: a factor is continuous, and so has no steps.
      ValueError: a factor is out of range, or two images of `index` have the same factors although
        `info.repeats` is False.
    """
    pairs: list[Transitions | None] = [None] * info.num_actions
    sizes = info.factor_sizes
    if info.partly_labelled:
        index = index[(factors[index] >= 0).all(axis=1)]
    chosen = factors[index].astype(np.int64)
    if ((chosen < 0) | (chosen >= np.array(sizes))).any():
        raise ValueError(f"{info.name}: factor indices must lie in [0, {sizes}).")
    cell, strides = (
        combinations(chosen, sizes),
        [math.prod(sizes[i + 1 :]) for i in range(len(sizes))],
    )
    lookup = None
    if not info.repeats and math.prod(sizes) <= _MOST_DENSE:
        lookup = _lookup(cell, info, index)
    for factor, size in enumerate(sizes):
        stride = strides[factor]
        if math.prod(sizes) >= _MOST_NUMBERED:
            order = [*np.delete(np.arange(len(sizes)), factor), factor]
            cell, stride = combinations(chosen[:, order], [sizes[i] for i in order]), 1
        partner = lookup or _matching(cell, factor, info, index, seed)
        for direction in (1, -1):
            value = chosen[:, factor] + direction
            wrapped = value % size
            target = partner(cell + (wrapped - chosen[:, factor]) * stride)
            kept = (target >= 0) & (info.circular[factor] | (value == wrapped))
            action = factor if direction > 0 else actions.opposite(factor, info.num_factors)
            moves = np.full(kept.sum(), action, np.int32)
            pairs[action] = Transitions(index[kept], target[kept], moves)
    x, y, action = (np.concatenate(column) for column in zip(*pairs, strict=True))
    return Transitions(x.astype(np.int64), y, action)


def combinations(
    factors: Int64[np.ndarray, "n f"], sizes: Sequence[int]
) -> Int64[np.ndarray, " n"]:
    """A number for each row, the same for equal rows alone; one more for a step of the last factor.

    It is the row's position in the grid of all combinations. Where that has 2**62 or more, columns
    are replaced by the rank of their combination among those that occur.
    """
    number, most = np.zeros(len(factors), np.int64), 1
    for column, size in zip(factors.T, sizes, strict=True):
        if most * size >= _MOST_NUMBERED:
            number, most = np.unique(number, return_inverse=True)[1], len(number)
        number, most = number * size + column, most * size
    return number


# combinations [m], one for each image of `index` -> images [m], or -1 for none
_Partner = Callable[[np.ndarray], np.ndarray]


def _lookup(cell: np.ndarray, info: Info, index: np.ndarray) -> _Partner:
    """Finds the one image of a combination in a table of all combinations."""
    # Images are looked up by their factors, since a data set may be stored in any order.
    image_at = np.full(math.prod(info.factor_sizes), -1, np.int64)
    image_at[cell] = index
    if not np.array_equal(image_at[cell], index):
        raise _repeated(info)
    return image_at.__getitem__


def _matching(cell: np.ndarray, factor: int, info: Info, index: np.ndarray, seed: int) -> _Partner:
    """Finds the image of a combination that has the same rank in a random order for each factor.

    Images of two combinations are thus matched one to one, in both directions alike, until the
    smaller one runs out.
    """
    order = np.lexsort((sampling_order(seed, factor, info.num_images)[index], cell))
    first = np.flatnonzero(np.diff(cell[order], prepend=-1))
    cells, count = cell[order][first], np.diff(first, append=len(cell))
    if not info.repeats and len(cells) < len(cell):
        raise _repeated(info)
    rank = np.empty(len(cell), np.int64)
    rank[order] = np.arange(len(cell)) - np.repeat(first, count)

    def partner(wanted: np.ndarray) -> np.ndarray:
        there = np.searchsorted(cells, wanted).clip(0, len(cells) - 1)
        found = (cells[there] == wanted) & (rank < count[there])
        return np.where(found, index[order[np.where(found, first[there] + rank, 0)]], -1)

    return partner


def _repeated(info: Info) -> ValueError:
    return ValueError(f"{info.name}: two images have the same factors.")


def sampling_order(seed: int, factor: int, count: int) -> UInt64[np.ndarray, " count"]:
    """A random number for each image, by which the images of a combination are ordered.

    Raw Philox output, which NumPy promises never to change, so that samples are permanent.
    """
    # The second word of the key keeps them independent of the random numbers that order splits or
    # generate data sets.
    return np.random.Philox(key=np.array([seed, 2 + factor], np.uint64)).random_raw(count)


def counts(dataset: Dataset) -> dict[str, Int64[np.ndarray, " a"]]:
    """The number of transitions of each action in each split: split -> int64 [A]."""
    info = dataset.info
    return {
        split: np.bincount(build(dataset.factors, info, index).action, minlength=info.num_actions)
        for split, index in dataset.splits.items()
    }


def count_table(dataset: Dataset) -> list[str]:
    """The lines of a table of `counts`: a row per action, a column per split."""
    columns, names = counts(dataset), dataset.info.action_names
    width = max(16, *(len(name) + 1 for name in names))
    lines = [f"{'transitions':{width}}" + "".join(f"{split:>12}" for split in columns)]
    rows = zip(*columns.values(), strict=True)
    for name, row in [*zip(names, rows, strict=True), ("all", [n.sum() for n in columns.values()])]:
        lines.append(f"{name:{width}}" + "".join(f"{count:12,}" for count in row))
    return lines
