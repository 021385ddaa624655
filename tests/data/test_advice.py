"""Warnings of what will hurt: each is given when it should be, and only then."""

import dataclasses

import numpy as np

from cdis.data.advice import _explanations, warnings_about
from cdis.data.info import Dataset, Info

COUNT = 400


def _dataset(
    columns: dict[str, np.ndarray],
    *,
    discrete: tuple[str, ...] = (),
    causes: dict[str, tuple[str, ...]] | None = None,
) -> Dataset:
    """Columns are values, NaN where unknown; those of discrete factors are 0, 1, 2, ..."""
    names = tuple(columns)
    values = np.stack(list(columns.values()), 1).astype(np.float32)
    steps = [name in discrete for name in names]
    sizes = [
        int(np.nanmax(column)) + 1 if step else 0
        for step, column in zip(steps, values.T, strict=True)
    ]
    factors = np.where(np.isnan(values), -1, np.where(steps, values, 0)).astype(np.int32)
    graph = None
    if causes is not None:
        graph = tuple(tuple(int(c in causes.get(e, ())) for c in names) for e in names)
    count = len(values)
    info = Info(
        "own:x", names, tuple(sizes), (False,) * len(names), (1, 1, 1), "", "", "", count=count,
        graph=graph, repeats=True, unordered=tuple(n for n in discrete if n.startswith("kind")),
        partly_labelled=bool(np.isnan(values).any()),
    )  # fmt: skip
    a, b = count * 7 // 10, count * 85 // 100
    splits = {"train": np.arange(a), "validation": np.arange(a, b), "test": np.arange(b, count)}
    return Dataset(info, np.zeros((count, 1, 1, 1), np.uint8), factors, splits, values)


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_nothing_is_said_of_sound_data():
    rng = _rng()
    cause, kind, flag = rng.random(COUNT), rng.integers(0, 3, COUNT), rng.integers(0, 2, COUNT)
    columns = {
        "cause": cause,
        "kind": kind,
        "flag": flag,
        "effect": cause + rng.normal(0, 1, COUNT),
    }
    assert warnings_about(_dataset(columns, discrete=("kind", "flag"))) == []
    sound = _dataset(columns, discrete=("kind", "flag"), causes={"effect": ("cause", "kind")})
    assert warnings_about(sound) == []


def test_an_effect_without_noise_of_its_own():
    """Nonlinear, of two causes; and of a category."""
    rng = _rng()
    one, other, kind = rng.normal(size=COUNT), rng.random(COUNT), rng.integers(0, 4, COUNT)
    effect = np.sin(one) * other + np.array([0, 5, -3, 1])[kind]
    columns = {"one": one, "other": other, "kind": kind, "effect": effect}
    causes = {"effect": ("one", "other", "kind")}
    (line,) = warnings_about(_dataset(columns, discrete=("kind",), causes=causes))
    assert line.startswith("effect hardly varies apart from its causes: ")
    assert "follows from one, other and kind" in line and "do(effect)" in line
    columns["effect"] = effect + rng.normal(0, 0.5 * effect.std(), COUNT)
    assert warnings_about(_dataset(columns, discrete=("kind",), causes=causes)) == []


def test_factors_that_are_functions_of_one_another():
    rng = _rng()
    width = rng.normal(size=COUNT)
    columns = {"width": width, "area": np.exp(width / 2), "free": rng.normal(size=COUNT)}
    lines = warnings_about(_dataset(columns))
    assert [line.split(" is nearly a function of ")[0] for line in lines] == ["width", "area"]
    # With a graph: two causes that go together, whose effect has noise.
    columns["effect"] = width + rng.normal(size=COUNT)
    lines = warnings_about(_dataset(columns, causes={"effect": ("width", "area")}))
    assert len(lines) == 2 and all("nearly a function of" in line for line in lines)
    # That a cause can be computed from its effects is no trouble.
    columns = {"cause": width, "effect": width + rng.normal(0, 0.5, COUNT)}
    columns["second"] = width - 2 * columns["effect"] + rng.normal(0, 0.5, COUNT)
    causes = {"effect": ("cause",), "second": ("cause", "effect")}
    assert warnings_about(_dataset(columns, causes=causes)) == []
    # Nor does it matter in which order they are listed.
    backwards = _dataset(dict(reversed(columns.items())), causes=causes)
    everything = [0, 1, 2]
    assert _explanations(backwards, 2, everything) == ([], [])
    assert _explanations(backwards, 1, everything) == ([2], [2])
    assert _explanations(backwards, 0, everything) == ([1, 2], [1, 2])


def test_factors_that_are_constant_or_nearly_so():
    rng = _rng()
    fixed, rare = np.full(COUNT, 2.5), (np.arange(COUNT) % 25 == 0).astype(int)
    columns = {"free": rng.random(COUNT), "fixed": fixed, "rare": rare}
    lines = warnings_about(_dataset(columns, discrete=("rare",)))
    assert len(lines) == 2
    assert lines[0].startswith("fixed is 2.5 in all images")
    assert lines[1].startswith("rare is nearly constant, 0 in 96.0% of the images")
    columns["rare"] = (np.arange(COUNT) % 10 == 0).astype(int)
    assert len(warnings_about(_dataset(columns, discrete=("rare",)))) == 1


def test_values_that_are_rare_or_missing_from_a_split():
    kind = np.arange(COUNT) % 3
    kind[[5, 100]] = 3  # both in the training split
    kind[-1] = 4
    lines = warnings_about(_dataset({"kind": kind}, discrete=("kind",)))
    assert [line[:60] for line in lines] == [
        "kind = 3: only 2 training images. What it looks like can har",
        "kind = 4: no image of the split train, so it cannot be learn",
        "kind = 3, 4: no image of the split validation, so it cannot ",
        "kind = 3: no image of the split test, so it cannot be measur",
    ]


def test_factors_with_many_values():
    many = np.arange(66 * 40) % 66
    (line,) = warnings_about(_dataset({"many": many}, discrete=("many",)))
    assert line.startswith("many has 66 values, and a transition is a single step")
    # Beside a continuous factor there are no transitions.
    columns = {"many": many, "free": _rng().random(len(many))}
    assert warnings_about(_dataset(columns, discrete=("many",))) == []


def test_missing_labels():
    columns = {"free": _rng().random(COUNT), "other": _rng().normal(size=COUNT) ** 3}
    columns["free"][340:] = np.nan  # all of the test split
    lines = warnings_about(_dataset(columns))
    assert lines == [
        "No image of the split test has all labels: nothing that needs them can be measured on it."
    ]
    columns["free"][3:] = np.nan
    lines = warnings_about(_dataset(columns))
    assert "free: only 3 training images have a label." in lines and len(lines) == 3
    columns["free"][:] = np.nan
    assert "free: only 0 training images have a label." in warnings_about(_dataset(columns))


def test_names_are_shortened_and_printable():
    columns = {"a\x1b[2J" + "b" * 5000: np.ones(COUNT), "free": _rng().random(COUNT)}
    (line,) = warnings_about(_dataset(columns))
    assert line.isprintable() and len(line) < 150


def test_a_whole_grid_is_sound():
    grid = np.unravel_index(_rng().permutation(1000), (10, 10, 10))
    found = _dataset(dict(zip("xyz", grid, strict=True)), discrete=("x", "y", "z"))
    whole = dataclasses.replace(found.info, count=None, repeats=False)
    assert warnings_about(dataclasses.replace(found, info=whole)) == []
