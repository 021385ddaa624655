"""Splits by combination: some combinations of two factors' values are kept for the test split.

A model that has learnt the factors should also work on an image that combines known values in a
new way. Which combinations are unseen depends on the names of the two factors and on which
combinations occur, not on the number of images, their order or the order of the two names.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool

from cdis.data.info import Dataset, Info, Unseen
from cdis.errors import UserError, near_miss

#: The split of held-out images whose combinations occur in training, to compare with "test".
SEEN = "seen"


def as_configured(dataset: Dataset, settings: Mapping[str, Any]) -> Dataset:
    """The data set as ``config.data`` splits it: `hold_out` if ``unseen`` names factors."""
    factors = settings.get("unseen", ())  # configs of version 0.3 lack the field
    return hold_out(dataset, factors, settings["unseen_share"]) if factors else dataset


def hold_out(dataset: Dataset, factors: Sequence[str], share: float) -> Dataset:
    """Splits a data set anew, so that some combinations of two factors' values are only tested.

    - "test": all images with an unseen combination, from whatever split;
    - "train" and "validation": what is left of these splits;
    - "seen": what is left of the former test split, held-out images to compare with, if their
      combinations occur in training.

    So images that belong together and were in one split before are still not in both "train" and
    "seen". Images with a missing label of either factor are in no split.

    Unseen combinations are taken in the order of their hashes. One is passed over if without it a
    value of either factor, or a step from one value to the next, would no longer occur in training.

    Args:
      dataset: split at random or otherwise; one that was split by this function is split again
        from its former splits.
      factors: names of two discrete factors.
      share: of the combinations that occur, between 0 and 1; rounded to a whole number of them.

    Returns:
      The same images with other splits; `Dataset.unseen` says how they were split.

    Raises:
      UserError: not two different discrete factors of the data set; the share is out of range, or
        so small that no combination is left out, or too large to keep every value and step in
        training; or a value of a third factor would be missing from training.
    """
    info = dataset.info
    columns = _columns(info, factors)
    if not 0 < share < 1:
        raise UserError(
            f"data.unseen_share is {share:g}. It is the share of combinations that are never seen "
            "in training: give a number between 0 and 1, such as 0.3."
        )
    before = dataset.splits if dataset.unseen is None else dataset.unseen.splits_before
    values = dataset.factors[:, columns]
    known = np.asarray((values >= 0).all(axis=1))
    cell = tuple(np.where(known, values.T, 0))

    def table(rows: np.ndarray) -> Bool[np.ndarray, "a b"]:
        found = np.zeros([info.factor_sizes[column] for column in columns], bool)
        found[tuple(part[rows[known[rows]]] for part in cell)] = True
        return found

    everything = np.sort(np.concatenate(list(before.values())))
    circular = [info.circular[column] for column in columns]
    occurs = table(everything)
    chosen = _choose(factors, occurs, table(before["train"]), circular, share)
    unseen = np.zeros_like(occurs)
    unseen[tuple(np.transpose(chosen))] = True
    is_unseen = known & unseen[cell]
    is_seen = known & ~is_unseen
    left = {name: index[is_seen[index]] for name, index in before.items()}
    in_training = table(left["train"])[cell]
    splits = {
        "train": left["train"],
        "validation": left["validation"],
        "test": everything[is_unseen[everything]],
        SEEN: left["test"][in_training[left["test"]]],
    }
    _check_values(dataset, factors, before["train"], splits["train"])
    how = Unseen((factors[0], factors[1]), share, tuple(chosen), int(occurs.sum()), before)
    return replace(dataset, splits=splits, unseen=how)


def _columns(info: Info, factors: Sequence[str]) -> list[int]:
    discrete = [n for n, size in zip(info.factor_names, info.factor_sizes, strict=True) if size]
    ask = f"Name two of its discrete factors ({', '.join(discrete) or 'it has none'})"
    for name in factors:
        if name not in info.factor_names:
            near = near_miss(str(name), discrete)
            raise UserError(f"data.unseen: {info.name} has no factor {name!r}{near}. {ask}.")
        if name not in discrete:
            raise UserError(
                f"data.unseen: the factor {name} of {info.name} is continuous, so it has no "
                f"values to combine with those of another. {ask}."
            )
    if len(factors) != 2 or factors[0] == factors[1]:
        raise UserError(
            f"data.unseen takes the names of two different factors, not {', '.join(factors)}. "
            f"{ask}, with a comma between them."
        )
    return [info.factor_names.index(name) for name in factors]


def _choose(
    factors: Sequence[str],
    occurs: Bool[np.ndarray, "a b"],
    trained: Bool[np.ndarray, "a b"],
    circular: Sequence[bool],
    share: float,
) -> list[tuple[int, int]]:
    """The unseen combinations, in ascending order.

    Args:
      factors: names of rows and columns of the tables.
      occurs: which combinations the data set has.
      trained: which of them its train split has.
      circular: of the two factors.
      share: of the combinations that occur.
    """
    cells = [(int(i), int(j)) for i, j in np.argwhere(occurs)]
    pair = " and ".join(factors)
    wanted = round(share * len(cells))
    if not wanted:
        raise UserError(
            f"data.unseen_share: {100 * share:g} % of the {len(cells)} combinations of {pair} is "
            "less than one. Raise it, or name factors with more values."
        )
    chosen = []
    for cell in sorted(cells, key=lambda cell: _hash(factors, cell)):
        if len(chosen) == wanted:
            break
        rest = trained.copy()
        rest[cell] = False
        if (_covered(rest, circular) >= _covered(trained, circular)).all():
            chosen.append(cell)
            trained = rest
    if len(chosen) < wanted:
        raise UserError(
            f"data.unseen_share: only {len(chosen)} of the {len(cells)} combinations of {pair} can "
            f"be left out so that every value and every step still occurs in training, not "
            f"{wanted}. Lower it, or name factors with more values."
        )
    return sorted(chosen)


def _hash(factors: Sequence[str], cell: tuple[int, int]) -> str:
    """Orders combinations at random, for ever; the order of the two factors does not matter."""
    parts = sorted(f"{name}={value}" for name, value in zip(factors, cell, strict=True))
    return hashlib.sha256("&".join(parts).encode()).hexdigest()


def _covered(seen: Bool[np.ndarray, "a b"], circular: Sequence[bool]) -> Bool[np.ndarray, " n"]:
    """Whether each value and each step of the two factors occurs among these combinations."""
    parts = []
    for axis in (0, 1):
        steps = np.asarray((seen & np.roll(seen, -1, axis)).any(1 - axis))
        parts += [seen.any(1 - axis), steps if circular[axis] else steps[:-1]]
    return np.concatenate(parts)


def _check_values(
    dataset: Dataset, factors: Sequence[str], before: np.ndarray, train: np.ndarray
) -> None:
    """Raises `UserError` if a discrete factor has lost a value that it had in training."""
    info = dataset.info
    for column, (name, size) in enumerate(zip(info.factor_names, info.factor_sizes, strict=True)):
        lost = np.setdiff1d(dataset.factors[before, column], dataset.factors[train, column])
        if size and len(lost := lost[lost >= 0]):
            raise UserError(
                f"data.unseen: without the unseen combinations of {' and '.join(factors)}, "
                f"training would have no image with value {lost[0]} of {name}. Lower "
                "data.unseen_share, or name other factors."
            )
