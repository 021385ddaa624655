"""Transitions: pairs of images between which one factor moves by one step."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64

from cdis.data.info import Dataset, Info


class Transitions(NamedTuple):
    """P directed pairs of images and the actions that lead from x to y.

    `x` and `y` are indices of images (int64 [P]); `action` is int32 [P], with
    index = factor + F * (direction < 0).
    """

    x: Int64[np.ndarray, " p"]
    y: Int64[np.ndarray, " p"]
    action: Int32[np.ndarray, " p"]


def build(
    factors: Int32[np.ndarray, "n f"], info: Info, index: Int64[np.ndarray, " m"]
) -> Transitions:
    """Every directed one-step pair with both ends in `index`, ordered by action, then as `index`.

    Non-circular factors do not step past their ends; circular ones wrap. Pairs of a split never
    name an image of another split, because both ends are in `index`.

    Raises:
      UserError: a factor is continuous, and so has no steps.
      ValueError: a factor is out of range, or two images of `index` have the same factors, so
        that a row of factors does not name one image.
    """
    num_actions, sizes = info.num_actions, np.array(info.factor_sizes)
    chosen = factors[index].astype(np.int64)
    if len(chosen) and ((chosen < 0).any() or (chosen >= sizes).any()):
        raise ValueError(f"{info.name}: factor indices must lie in [0, {info.factor_sizes}).")
    # The row of an image is looked up, never computed: a data set may be stored in any order.
    strides = np.concatenate([np.cumprod(sizes[:0:-1])[::-1], [1]])
    cell = chosen @ strides
    image_at = np.full(np.prod(sizes), -1, np.int64)
    image_at[cell] = index
    if not np.array_equal(image_at[cell], index):
        raise ValueError(f"{info.name}: two images have the same factors.")

    pairs = []
    for action in range(num_actions):
        factor, step = action % info.num_factors, 1 if action < info.num_factors else -1
        value = chosen[:, factor] + step
        wrapped = value % sizes[factor]
        allowed = info.circular[factor] | (value == wrapped)
        target = image_at[cell + (wrapped - chosen[:, factor]) * strides[factor]]
        kept = allowed & (target >= 0)
        pairs.append((index[kept], target[kept], np.full(kept.sum(), action, np.int32)))
    x, y, action = (np.concatenate(column) for column in zip(*pairs, strict=True))
    return Transitions(x.astype(np.int64), y, action)


def counts(dataset: Dataset) -> dict[str, Int64[np.ndarray, " a"]]:
    """How many transitions of each action a split has: split -> int64 [A]."""
    info = dataset.info
    return {
        split: np.bincount(build(dataset.factors, info, index).action, minlength=info.num_actions)
        for split, index in dataset.splits.items()
    }


def count_table(dataset: Dataset) -> list[str]:
    """The lines of a table of `counts`, a row per action and a column per split."""
    columns, names = counts(dataset), dataset.info.action_names
    width = max(16, *(len(name) + 1 for name in names))
    lines = [f"{'transitions':{width}}" + "".join(f"{split:>12}" for split in columns)]
    rows = zip(*columns.values(), strict=True)
    for name, row in [*zip(names, rows, strict=True), ("all", [n.sum() for n in columns.values()])]:
        lines.append(f"{name:{width}}" + "".join(f"{count:12,}" for count in row))
    return lines
