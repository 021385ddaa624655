"""Splits by combination, on grids and on data of one's own: what is seen, what is not, and why."""

import dataclasses

import numpy as np
import pytest

from cdis import data
from cdis.data import Info, transitions
from cdis.data.builder import SPLITS, split_of
from cdis.data.combinations import as_configured, hold_out
from cdis.data.info import Dataset, Unseen
from cdis.errors import UserError

INFO = Info(
    "grid", ("a", "b", "c", "d"), (4, 5, 3, 2), (False, True, False, False), (1, 1, 1), "", "", ""
)


def _grid(info: Info = INFO, copies: int = 1, order: int = 0) -> Dataset:
    """Every combination `copies` times, in a random order and in random splits."""
    grid = np.indices(info.factor_sizes).reshape(info.num_factors, -1).T.astype(np.int32)
    if copies > 1:
        info = dataclasses.replace(info, count=copies * len(grid), repeats=True)
    factors = np.random.default_rng(order).permutation(np.tile(grid, (copies, 1)))
    split = split_of(len(factors), order)
    splits = {name: np.flatnonzero(split == number) for number, name in enumerate(SPLITS)}
    images = np.zeros((len(factors), 1, 1, 1), np.uint8)
    return Dataset(info, images, factors, splits, factors.astype(np.float32))


def _unseen(dataset: Dataset, factors: tuple[str, str], share: float = 0.3) -> Unseen:
    found = hold_out(dataset, factors, share).unseen
    assert found is not None
    return found


def _pairs(dataset: Dataset, split: str, *columns: int) -> set[tuple[int, ...]]:
    return set(map(tuple, dataset.factors[dataset.splits[split]][:, columns].tolist()))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.4])
@pytest.mark.parametrize(("factors", "columns"), [(("a", "b"), (0, 1)), (("c", "b"), (2, 1))])
def test_properties(factors, columns, share):
    before = _grid()
    found = hold_out(before, factors, share)
    assert found.unseen is not None
    unseen = set(found.unseen.combinations)
    sizes = [INFO.factor_sizes[column] for column in columns]
    assert found.unseen.occurring == np.prod(sizes)
    assert len(unseen) == round(share * np.prod(sizes))
    # Exactly the images with an unseen combination are in the test split.
    assert _pairs(found, "test", *columns) == unseen
    assert len(found.splits["test"]) == len(unseen) * np.prod(INFO.factor_sizes) / np.prod(sizes)
    # The others are where they were, and the former test images are kept apart.
    assert sorted(np.concatenate(list(found.splits.values()))) == list(range(120))
    for name, former in {"train": "train", "validation": "validation", "seen": "test"}.items():
        assert not _pairs(found, name, *columns) & unseen
        assert set(found.splits[name]) <= set(before.splits[former])
        assert (np.diff(found.splits[name]) > 0).all()
    # Every value and every step is still in training, round the circle too.
    seen = np.zeros(sizes, bool)
    seen[tuple(zip(*_pairs(found, "train", *columns), strict=True))] = True
    assert seen.any(0).all() and seen.any(1).all()
    assert (seen[1:] & seen[:-1]).any(1).all()
    assert (seen & np.roll(seen, 1, axis=1)).any(0).all()
    for column, size in enumerate(INFO.factor_sizes):
        assert set(found.factors[found.splits["train"], column]) == set(range(size))
    # Transitions stay in one split.
    pairs = transitions.build(found.factors, found.info, found.splits["test"])
    assert len(pairs.action) and set(pairs.x) | set(pairs.y) <= set(found.splits["test"])
    assert found.images is before.images and found.info == before.info


def test_the_choice_is_permanent():
    """It depends on the two factors alone: not on the images, their order or the names' order."""
    chosen = ((0, 0), (0, 1), (1, 0), (1, 4), (2, 2), (3, 3))

    def found(dataset, *factors):
        return _unseen(dataset, factors).combinations

    assert found(_grid(), "a", "b") == chosen
    assert found(_grid(copies=5, order=1), "a", "b") == chosen
    assert found(_grid(), "b", "a") == tuple(sorted((b, a) for a, b in chosen))
    shuffled = dataclasses.replace(
        INFO, factor_names=("d", "a", "c", "b"), factor_sizes=(2, 4, 3, 5), circular=(False,) * 4
    )
    assert found(_grid(shuffled), "a", "b") == chosen
    # A larger share adds to a smaller one; other factors have others.
    fewer = set(_unseen(_grid(), ("a", "b"), 0.1).combinations)
    assert len(fewer) == 2 and fewer < set(chosen)
    assert found(_grid(dataclasses.replace(INFO, factor_names=("e", "b", "c", "d"))), "e", "b") != (
        chosen
    )


def test_splitting_again_starts_from_the_former_splits():
    before = _grid()
    once = hold_out(before, ("a", "b"), 0.3)
    for again, like in (
        (hold_out(once, ("a", "b"), 0.3), once),
        (hold_out(once, ("c", "b"), 0.2), hold_out(before, ("c", "b"), 0.2)),
    ):
        assert again.splits.keys() == like.splits.keys()
        for name in again.splits:
            np.testing.assert_array_equal(again.splits[name], like.splits[name])


def test_as_the_config_says():
    dataset = _grid()
    for settings in ({"name": "grid"}, {"unseen": (), "unseen_share": 7.0}):
        assert as_configured(dataset, settings) is dataset
    found = as_configured(dataset, {"unseen": ("a", "b"), "unseen_share": 0.3})
    assert found.unseen == _unseen(dataset, ("a", "b"))


def test_data_of_ones_own():
    """Rare combinations, one that does not occur, groups, missing labels, a continuous factor."""
    random = np.random.default_rng(0)
    values = np.stack(
        [random.integers(0, 3, 400), random.integers(0, 4, 400), random.random(400)], 1
    )
    values[values[:, 0] == 2, 1] %= 3  # (2, 3) does not occur
    values[:20, 0] = np.nan
    group = np.arange(400) // 4
    dataset = data.from_arrays(
        np.zeros((400, 2, 2, 1), np.uint8), values, names=["a", "b", "c"], group=group.tolist(),
        kinds={"a": "categorical", "b": "discrete", "c": "continuous"},
    )  # fmt: skip
    found = hold_out(dataset, ("a", "b"), 0.3)
    assert found.unseen is not None
    assert (found.unseen.occurring, len(found.unseen.combinations)) == (11, 3)
    assert (2, 3) not in found.unseen.combinations
    everything = np.concatenate(list(found.splits.values()))
    assert sorted(everything) == list(range(20, 400))  # the rest have no label of "a"
    assert _pairs(found, "seen", 0, 1) <= _pairs(found, "train", 0, 1)
    # Images of a group that was held out are not trained on.
    assert not set(group[found.splits["seen"]]) & set(group[found.splits["train"]])
    with pytest.raises(UserError, match=r"factor c of arrays is continuous, .* factors \(a, b\)"):
        hold_out(dataset, ("a", "c"), 0.3)


@pytest.mark.parametrize(
    ("factors", "share", "message"),
    [
        (("a", "bb"), 0.3, r"no factor 'bb' \(did you mean 'b'\?\). Name two of .* \(a, b, c, d\)"),
        (("a", 1), 0.3, "no factor 1"),
        (("a", "a"), 0.3, "two different factors, not a, a"),
        (("a",), 0.3, "two different factors, not a. "),
        (("a", "b", "c"), 0.3, "two different factors, not a, b, c"),
        (("a", "b"), 0.0, "data.unseen_share is 0. .* between 0 and 1"),
        (("a", "b"), 30.0, "data.unseen_share is 30. .* between 0 and 1"),
        (("c", "d"), 0.05, "5 % of the 6 combinations of c and d is less than one"),
        (("c", "d"), 0.5, "only 2 of the 6 combinations of c and d can be left out .* not 3"),
    ],
)
def test_refuses(factors, share, message):
    with pytest.raises(UserError, match=message):
        hold_out(_grid(), factors, share)


def test_a_value_of_a_third_factor_that_training_would_lose():
    dataset = _grid()
    a, b = _unseen(dataset, ("a", "b")).combinations[0]
    factors = dataset.factors.copy()
    factors[:, 3] = (factors[:, 0] == a) & (factors[:, 1] == b)
    with pytest.raises(UserError, match="no image with value 1 of d"):
        hold_out(dataclasses.replace(dataset, factors=factors), ("a", "b"), 0.3)
