"""From the columns of the user's own data to factors and splits.

Errors are `UserError`, without the name of the data set, which the caller puts in front.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from cdis.data.builder import SPLITS, split_of
from cdis.data.own_schema import About, Kind
from cdis.data.tables import Cells, short
from cdis.errors import UserError

_FEW = 64
# Of a continuous factor: the least range, as a share of the largest value and in itself.
_LEAST_SPREAD, _LEAST = 1e-5, 1e-30
_SPELLINGS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "development": "validation",
    "test": "test",
    "testing": "test",
}
_VALIDATION_SHARE = 0.15


class Factor(NamedTuple):
    """A factor of n images.

    `index` is int64 [n], the place of each value among all: -1 where the label is missing, else 0
    if the factor is continuous. `values` is float64 [n], the number, or the index of a category;
    NaN where the label is missing. `size` is the number of values, 0 if continuous; `names` are
    those of a category's values.
    """

    index: Int64[np.ndarray, " n"]
    values: Float64[np.ndarray, " n"]
    size: int
    unordered: bool
    names: tuple[str, ...] = ()


def factor(name: str, cells: Cells, about: About, place: Callable[[int], str]) -> Factor:
    """The factor in a column. Raises `UserError` for labels that cannot be one."""
    missing = cells.missing
    if missing.all():
        raise UserError(f'the factor {short(name)} has no labels. Leave it out with "factors".')
    order = about.order.get(name)
    numbers = cells.numbers
    if order is not None and any(isinstance(value, str) for value in order):
        # An order of texts, of a column that may look like numbers.
        numbers = None if cells.texts is not None else numbers
    kind = about.kinds.get(name) or _kind(numbers, ordered=order is not None)
    if kind == "continuous":
        return _continuous(name, cells, about, place)
    keys = cells.texts if numbers is None else numbers
    assert keys is not None
    found, inverse = np.unique(keys[~missing], return_inverse=True)
    if len(found) < 2:
        raise UserError(
            f"the factor {short(name)} has one value, {_some(found)}, in all images. Leave it out: "
            "a factor needs at least two values."
        )
    if numbers is not None and len(np.unique(found.astype(np.float32))) < len(found):
        raise _too_close(name, found)
    if order is not None:
        position = _places(name, found, order)
        found, inverse = found[np.argsort(position)], position[inverse]
    if name in about.circular and len(found) < 3:
        raise UserError(
            f"the factor {short(name)} has only two values, so it cannot be circular. Remove it "
            "from 'circular'."
        )
    index = np.full(len(keys), -1, np.int64)
    index[~missing] = inverse
    values = np.where(missing, np.nan, index) if numbers is None else numbers
    unordered = kind == "categorical" and order is None
    names = tuple(found.tolist()) if numbers is None else ()
    return Factor(index, values, len(found), unordered, names)


def _kind(numbers: np.ndarray | None, *, ordered: bool) -> Kind:
    """What a factor is if the user does not say: a function of its labels alone.

    Text is categorical. Numbers are discrete if there are two values; or if a value occurs at least
    twice on average and there are at most 64 values, or at most as many as each occurs on average.
    """
    if numbers is None:
        return "categorical"
    labels = numbers[~np.isnan(numbers)]
    count = len(np.unique(labels))
    occurs = len(labels) / count
    if ordered or count <= 2 or (occurs >= 2 and count <= max(_FEW, occurs)):
        return "discrete"
    return "continuous"


def _continuous(name: str, cells: Cells, about: About, place: Callable[[int], str]) -> Factor:
    numbers, texts = cells
    if numbers is None:
        assert texts is not None
        row = int(np.flatnonzero(texts != "")[0])
        raise UserError(
            f"the factor {short(name)} is text, {short(str(texts[row]))} on {place(row)}, so it "
            "cannot be continuous. Write numbers, or correct 'kinds'."
        )
    for field, names in (("circular", about.circular), ("order", about.order)):
        if name in names:
            raise UserError(
                f"the factor {short(name)} is continuous, so it has no steps to be in {field!r}. "
                "Remove it there, or make it \"discrete\" among 'kinds'."
            )
    labels = numbers[~np.isnan(numbers)]
    if np.ptp(labels) <= max(_LEAST_SPREAD * np.abs(labels).max(), _LEAST):
        raise _too_close(name, labels)
    return Factor(-np.isnan(numbers).astype(np.int64), numbers, 0, unordered=False)


def _too_close(name: str, labels: np.ndarray) -> UserError:
    return UserError(
        f"the values of {short(name)}, from {labels.min():.9g} to {labels.max():.9g}, are too "
        "close together for float32. Leave it out, subtract a constant, or use another unit."
    )


def _places(name: str, found: np.ndarray, order: Sequence[float | str]) -> np.ndarray:
    """The place in `order` of each value that was found."""
    wanted = [str(value) for value in order] if found.dtype == object else list(order)
    place = {value: i for i, value in enumerate(wanted)}
    if len(wanted) != len(found) or place.keys() != set(found.tolist()):
        raise UserError(
            f"the order of {short(name)} does not list its values, which are {_some(found)}. List "
            "each of them exactly once."
        )
    return np.array([place[value] for value in found.tolist()])


def _some(found: np.ndarray) -> str:
    shown = found[:8].tolist()
    values = ", ".join(short(v) if isinstance(v, str) else f"{v:.9g}" for v in shown)
    return values + (", ..." if len(found) > 8 else "")


# Splits


class Split(NamedTuple):
    """The split of each image as its position in `SPLITS`, and what to tell the user about it."""

    split: UInt8[np.ndarray, " n"]
    note: str


def split(
    count: int,
    given: Sequence[str] | None,
    group: Sequence[str] | None,
    place: Callable[[int], str],
) -> Split:
    """70/15/15 by position; or by whole groups; or as given.

    If no image is given for validation, 15 % of the training images are taken, by whole groups.
    Raises `UserError`.
    """
    # Without groups, each image is one.
    member = np.arange(count)
    if group is not None:
        member = np.unique(np.asarray(group), return_inverse=True)[1]
    if given is None:
        if group is None:
            return Split(split_of(count, 0), "")
        return Split(_by_groups(member), "")
    words = [_SPELLINGS.get(word.casefold(), "") for word in given]
    if "" in words:
        row = words.index("")
        raise UserError(
            f"{place(row)} puts an image into the split {short(given[row])}. The splits are train, "
            "validation and test."
        )
    number = np.array([SPLITS.index(word) for word in words], np.uint8)
    for name in ("train", "test"):
        if SPLITS.index(name) not in number:
            raise UserError(
                f"no image is in the split {name!r}. Put some there, or leave 'split' out: then "
                "70 % of the images are for training, 15 % for validation and 15 % for testing."
            )
    note = ""
    if SPLITS.index("validation") not in number:
        training = number == 0
        members, member_of = np.unique(member[training], return_inverse=True)
        if len(members) < 2:
            raise UserError(
                "the training images are one group, of which none can be taken for validation. Put "
                "some images into the split 'validation'."
            )
        taken = max(1, round(_VALIDATION_SHARE * len(members)))
        chosen = np.zeros(len(members), np.uint8)
        chosen[_shuffled(len(members))[-taken:]] = 1
        number[training] = chosen[member_of]
        note = (
            f"no image is given for validation, so {int((number == 1).sum()):,} of the "
            f"{int(training.sum()):,} training images are used for it"
        )
    for part in range(1, len(SPLITS)):
        both = np.intersect1d(member[number == part], member[number < part])
        if group is not None and len(both):
            row = int(np.flatnonzero(member == both[0])[0])
            raise UserError(
                f"the group {short(group[row])} has images in several splits. Give all images of a "
                "group the same split, or leave 'group' out."
            )
    return Split(number, note)


def _by_groups(member: np.ndarray) -> np.ndarray:
    count = int(member.max()) + 1
    if count < len(SPLITS):
        raise UserError(
            f"the images are of {count} group{'s' * (count > 1)}, but three splits need at least "
            "three. Use another column, or leave 'group' out."
        )
    held_out = max(1, round(_VALIDATION_SHARE * count))
    order = _shuffled(count)
    of_group = np.zeros(count, np.uint8)
    of_group[order[-2 * held_out : -held_out]] = 1
    of_group[order[-held_out:]] = 2
    return of_group[member]


def _shuffled(count: int) -> np.ndarray:
    """A permanent random order, as in `cdis.data.builder.split_of`."""
    return np.argsort(np.random.Philox(key=0).random_raw(count), kind="stable")
