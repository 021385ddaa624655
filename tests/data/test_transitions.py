"""Vectorised pairs against a literal search."""

import collections
import dataclasses
import itertools
import time

import numpy as np
import pytest

from cdis.data import Info, info, transitions
from cdis.data.builder import split_of
from cdis.data.sprites2d import GRIDS, grid_factors
from cdis.data.transitions import build, sampling_order
from cdis.errors import UserError

SMALL = Info("small", ("a", "b", "c"), (3, 4, 2), (False, True, False), (1, 1, 1), "", "", "")


def _grid(sizes: tuple[int, ...]) -> np.ndarray:
    return np.indices(sizes).reshape(len(sizes), -1).T.astype(np.int32)


def _slow_pairs(factors: np.ndarray, facts: Info, index: np.ndarray) -> list:
    pairs = []
    for i in index:
        for j in index:
            different = [f for f in range(facts.num_factors) if factors[i, f] != factors[j, f]]
            if len(different) != 1:
                continue
            f = different[0]
            for action in (f, f + facts.num_factors):
                target = factors[i, f] + (1 if action == f else -1)
                if facts.circular[f]:
                    target = target % facts.factor_sizes[f]
                if target == factors[j, f]:
                    pairs.append((i, j, action))
    return pairs


@pytest.fixture(params=["table", "search", "ranks"])
def finding(request, monkeypatch):
    """The ways to find images: grids of any size must give the same transitions."""
    if request.param != "table":
        monkeypatch.setattr(transitions, "_MOST_DENSE", 0)
    if request.param == "ranks":
        monkeypatch.setattr(transitions, "_MOST_NUMBERED", 8)


@pytest.mark.usefixtures("finding")
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_equals_the_literal_search(share):
    rng = np.random.default_rng(0)
    # In random order: rows must be looked up by their labels.
    factors = rng.permutation(_grid(SMALL.factor_sizes))
    index = np.sort(rng.choice(len(factors), int(share * len(factors)), replace=False))
    pairs = build(factors, SMALL, index)
    assert pairs.x.dtype == pairs.y.dtype == np.int64
    assert pairs.action.dtype == np.int32
    found = list(zip(*(column.tolist() for column in pairs), strict=True))
    assert len(found) == len(set(found)) > 0
    assert set(found) == set(_slow_pairs(factors, SMALL, index))


def test_deterministic_and_ordered_by_action():
    factors = _grid(SMALL.factor_sizes)
    index = np.arange(len(factors))
    first, second = build(factors, SMALL, index), build(factors, SMALL, index)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (np.diff(first.action) >= 0).all()


def test_circular_factors_wrap_and_others_end():
    factors = _grid(SMALL.factor_sizes)
    pairs = build(factors, SMALL, np.arange(len(factors)))
    counts = dict(zip(SMALL.action_names, np.bincount(pairs.action).tolist(), strict=True))
    assert counts == {"a+1": 16, "b+1": 24, "c+1": 12, "a-1": 16, "b-1": 24, "c-1": 12}
    up = pairs.action == SMALL.action_index("b+1")
    wrapped = up & (factors[pairs.x, 1] == 3)
    assert wrapped.sum() == 6
    assert (factors[pairs.y[wrapped], 1] == 0).all()


def test_each_pair_has_its_opposite():
    factors = _grid(SMALL.factor_sizes)
    pairs = build(factors, SMALL, np.arange(len(factors)))
    there = set(zip(*(column.tolist() for column in pairs), strict=True))
    opposite = SMALL.opposite(pairs.action)
    back = set(zip(pairs.y.tolist(), pairs.x.tolist(), opposite.tolist(), strict=True))
    assert there == back


@pytest.mark.parametrize("name", ["sprites2d/coloured", "sprites2d/oriented"])
def test_no_image_of_one_split_is_in_a_pair_of_another(name):
    facts = info(name)
    count = int(np.prod(facts.factor_sizes))
    factors = grid_factors(GRIDS[name.split("/")[1]], np.arange(count))
    split = split_of(count, seed=0)
    ends = []
    for number in range(3):
        pairs = build(factors, facts, np.flatnonzero(split == number))
        ends.append(set(pairs.x.tolist()) | set(pairs.y.tolist()))
        assert np.bincount(pairs.action, minlength=facts.num_actions).min() > 50
        moved = factors[pairs.y] - factors[pairs.x]
        assert ((moved != 0).sum(axis=1) == 1).all()
    assert not ends[0] & ends[1] and not ends[0] & ends[2] and not ends[1] & ends[2]


# Images that repeat factors

CROWD = dataclasses.replace(SMALL, name="crowd", count=400, repeats=True)


def _crowd(facts: Info = CROWD) -> np.ndarray:
    """Some combinations occur many times, and some never."""
    rng = np.random.default_rng(0)
    columns = [rng.binomial(size - 1, 0.3, facts.count) for size in facts.factor_sizes]
    return np.stack(columns, axis=1).astype(np.int32)


def _slow_sample(factors: np.ndarray, facts: Info, index: np.ndarray, seed: int) -> list:
    """Combination by combination, image by image."""
    pairs = []
    for f, size in enumerate(facts.factor_sizes):
        order = sampling_order(seed, f, facts.num_images)
        images = collections.defaultdict(list)
        for i in sorted(index.tolist(), key=lambda i: order[i]):
            masked = (*factors[i, :f], None, *factors[i, f + 1 :])
            images[masked, factors[i, f]].append(i)
        for masked, value in images:
            if value + 1 == size and not facts.circular[f]:
                continue
            up = images.get((masked, (value + 1) % size), [])
            for i, j in zip(images[masked, value], up, strict=False):
                pairs += [(i, j, f), (j, i, f + facts.num_factors)]
    return pairs


@pytest.mark.usefixtures("finding")
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("share", [1.0, 0.4])
def test_a_sample_of_repeated_factors_equals_the_literal_one(share, seed):
    factors, rng = _crowd(), np.random.default_rng(1)
    index = np.sort(rng.choice(400, int(share * 400), replace=False))
    pairs = build(factors, CROWD, index, seed=seed)
    found = list(zip(*(column.tolist() for column in pairs), strict=True))
    assert len(found) == len(set(found)) > 100
    assert set(found) == set(_slow_sample(factors, CROWD, index, seed))
    assert (np.diff(pairs.action) >= 0).all()
    assert set(found) < set(_slow_pairs(factors, CROWD, index))


@pytest.mark.parametrize("facts", [SMALL, CROWD])
def test_images_that_lack_labels_have_no_transitions(facts):
    factors = _crowd() if facts.repeats else _grid(facts.factor_sizes)
    rng = np.random.default_rng(2)
    factors[rng.random(factors.shape) < 0.1] = -1
    partly = dataclasses.replace(facts, partly_labelled=True)
    labelled = np.flatnonzero((factors >= 0).all(axis=1))
    pairs = build(factors, partly, np.arange(len(factors)))
    assert len(pairs.x) > 10 and len(labelled) < len(factors)
    for one, other in zip(pairs, build(factors, facts, labelled), strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


def test_a_sample_is_without_replacement_and_as_large_as_possible():
    factors = _crowd()
    pairs = build(factors, CROWD, np.arange(400))
    for action in range(CROWD.num_actions):
        for end in (pairs.x, pairs.y):
            images = end[pairs.action == action]
            assert len(images) == len(set(images.tolist()))
    cells = collections.Counter(map(tuple, factors.tolist()))
    expected = 0
    for values, step in itertools.product(cells, range(3)):
        other = list(values)
        other[step] += 1
        if CROWD.circular[step]:
            other[step] %= CROWD.factor_sizes[step]
        expected += 2 * min(cells[values], cells.get(tuple(other), 0))
    assert len(pairs.action) == expected


def test_a_sample_has_each_candidate_equally_often():
    factors = np.array([[0, 0, 0]] * 3 + [[0, 0, 1]] * 2, np.int32)
    facts = dataclasses.replace(CROWD, count=5)
    seen = collections.Counter()
    for seed in range(3000):
        pairs = build(factors, facts, np.arange(5), seed=seed)
        up = pairs.action == 2
        assert up.sum() == 2
        seen.update(zip(pairs.x[up].tolist(), pairs.y[up].tolist(), strict=True))
    counts = [seen[i, j] for i in range(3) for j in (3, 4)]
    # A pair is in a third of the samples; six standard deviations of a binomial count.
    assert sum(counts) == 6000 and max(abs(n - 1000) for n in counts) < 6 * (2000 / 3) ** 0.5


def test_a_sample_is_permanent():
    # A change would keep all present runs from resuming.
    assert sampling_order(0, 3, 2).tolist() == [10838992762465911255, 10360012934973440186]
    pairs = build(_crowd(), CROWD, np.arange(400))
    assert [column[[0, 100, -1]].tolist() for column in pairs] == [
        [1, 214, 396],
        [149, 29, 307],
        [0, 0, 5],
    ]


def test_forty_attributes_of_two_hundred_thousand_images():
    """In seconds, without a table of 2**40 combinations."""
    facts = Info(
        "many", tuple(map(str, range(40))), (2,) * 40, (False,) * 40, (1, 1, 1), "", "", "",
        count=202_599, repeats=True,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    # Ten are frequent; the rest are set in one image of a thousand.
    chance = np.concatenate([rng.uniform(0.1, 0.5, 10), np.full(30, 1e-3)])
    factors = (rng.random((202_599, 40)) < chance).astype(np.int32)
    start = time.process_time()
    pairs = build(factors, facts, np.arange(202_599))
    seconds = time.process_time() - start
    some = slice(None, None, 37)
    assert ((factors[pairs.y[some]] != factors[pairs.x[some]]).sum(axis=1) == 1).all()
    assert np.bincount(pairs.action, minlength=80)[:10].min() > 10_000
    assert seconds < 30, seconds


def test_the_full_grid_of_shapes3d_takes_seconds_and_leaks_nothing():
    """In random order: all pairs, and all pairs within each split."""
    facts = info("shapes3d")
    factors = np.random.default_rng(0).permutation(_grid(facts.factor_sizes))
    split = split_of(len(factors), seed=0)
    begun = time.process_time()
    whole = build(factors, facts, np.arange(len(factors)))
    parts = [build(factors, facts, np.flatnonzero(split == number)) for number in range(3)]
    assert time.process_time() - begun < 10
    # Three hues wrap, so each of their values has a successor; 7 of 8 scales have one, and so on.
    steps = 480_000 * (3 + 7 / 8 + 3 / 4 + 14 / 15)
    assert len(whole.x) == 2 * steps
    used = np.zeros((3, len(factors)), bool)
    for number, pairs in enumerate(parts):
        used[number, pairs.x] = used[number, pairs.y] = True
        assert (split[pairs.x] == number).all() and (split[pairs.y] == number).all()
    assert used.sum(axis=0).max() == 1 and used.any(axis=1).all()
    # A pair remains if both of its ends are in the same split.
    kept = sum(len(pairs.x) for pairs in parts) / len(whole.x)
    assert abs(kept - (0.7**2 + 2 * 0.15**2)) < 0.005


@pytest.mark.usefixtures("finding")
def test_labels_that_name_no_single_image_are_refused():
    factors = _grid(SMALL.factor_sizes)
    twice = factors.copy()
    twice[5] = twice[6]
    with pytest.raises(ValueError, match="two images have the same factors"):
        build(twice, SMALL, np.arange(len(twice)))
    outside = factors.copy()
    outside[0, 0] = 3
    with pytest.raises(ValueError, match="must lie in"):
        build(outside, SMALL, np.arange(len(outside)))


def test_action_names_and_near_misses():
    facts = info("sprites2d/coloured")
    assert facts.num_actions == 10
    assert facts.action_names[:2] == ("shape+1", "hue+1")
    assert facts.action_names[5:7] == ("shape-1", "hue-1")
    for index, name in enumerate(facts.action_names):
        assert facts.action_index(name) == index
    with pytest.raises(UserError, match=r"no action 'hue\+' \(did you mean 'hue\+1'\?\).*y-1"):
        facts.action_index("hue+")


@pytest.mark.parametrize("sizes, circular", [((2,), (True,)), ((1,), (False,)), ((3, 3), (False,))])
def test_impossible_factors_are_refused(sizes, circular):
    with pytest.raises(ValueError):
        Info("bad", ("a",) * len(sizes), sizes, circular, (1, 1, 1), "", "", "")
