"""Transitions: pairs of images between which one factor moves by one step.

If each combination of values occurs once, every such pair is a transition. If several images share
a combination (photographs and their attributes, `Info.repeats`), there are too many pairs, millions
between two frequent combinations; transitions are then a sample without replacement: the images of
two combinations one step apart are matched one to one at random, until the smaller of the two runs
out of images.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64, UInt64

from cdis.data.info import Dataset, Info
from cdis.ops import actions


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
    num_actions, sizes = info.num_actions, np.array(info.factor_sizes)
    chosen = factors[index].astype(np.int64)
    if len(chosen) and ((chosen < 0).any() or (chosen >= sizes).any()):
        raise ValueError(f"{info.name}: factor indices must lie in [0, {info.factor_sizes}).")
    strides = np.concatenate([np.cumprod(sizes[:0:-1])[::-1], [1]])
    cell = chosen @ strides
    partner = _matching(cell, info, index, seed) if info.repeats else _lookup(cell, info, index)

    pairs = []
    for action in range(num_actions):
        factor = actions.factor_of(action, info.num_factors)
        value = chosen[:, factor] + actions.direction_of(action, info.num_factors)
        wrapped = value % sizes[factor]
        allowed = info.circular[factor] | (value == wrapped)
        target = partner(cell + (wrapped - chosen[:, factor]) * strides[factor], factor)
        kept = allowed & (target >= 0)
        pairs.append((index[kept], target[kept], np.full(kept.sum(), action, np.int32)))
    x, y, action = (np.concatenate(column) for column in zip(*pairs, strict=True))
    return Transitions(x.astype(np.int64), y, action)


# (combinations [m], one for each image of `index`; factor) -> images [m], or -1 for none
_Partner = Callable[[np.ndarray, int], np.ndarray]


def _lookup(cell: np.ndarray, info: Info, index: np.ndarray) -> _Partner:
    """Finds the one image of a combination."""
    # Images are looked up by their factors, since a data set may be stored in any order.
    image_at = np.full(np.prod(info.factor_sizes), -1, np.int64)
    image_at[cell] = index
    if not np.array_equal(image_at[cell], index):
        raise ValueError(f"{info.name}: two images have the same factors.")
    return lambda wanted, factor: image_at[wanted]


def _matching(cell: np.ndarray, info: Info, index: np.ndarray, seed: int) -> _Partner:
    """Finds the image of a combination that has the same rank in a random order for each factor.

    Images of two combinations are thus matched one to one, in both directions alike, until the
    smaller one runs out.
    """
    cells, place, count = np.unique(cell, return_inverse=True, return_counts=True)
    first = np.cumsum(count) - count

    @functools.cache  # used for the step up and the step down
    def ranked(factor: int) -> tuple[np.ndarray, np.ndarray]:
        order = np.lexsort((sampling_order(seed, factor, info.num_images)[index], place))
        rank = np.empty(len(cell), np.int64)
        rank[order] = np.arange(len(cell)) - first[place[order]]
        return order, rank

    def partner(wanted: np.ndarray, factor: int) -> np.ndarray:
        order, rank = ranked(factor)
        there = np.searchsorted(cells, wanted).clip(0, len(cells) - 1)
        found = (cells[there] == wanted) & (rank < count[there])
        return np.where(found, index[order[np.where(found, first[there] + rank, 0)]], -1)

    return partner


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
