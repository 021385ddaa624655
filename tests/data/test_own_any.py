"""The user's own data of any kind: continuous, repeated, partly labelled, with a graph and splits.

Each way in gives the same labels and reports the same faults: a folder, arrays, and tables.
"""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from sklearn.datasets import load_digits

from cdis import data
from cdis.data import transitions
from cdis.data.builder import split_of
from cdis.errors import UserError

RNG = np.random.default_rng(0)
COUNT = 800
STIFFNESS, LOAD = RNG.uniform(1, 3, COUNT), RNG.uniform(1, 2, COUNT)
# An effect comes first.
SPRINGS = {
    "length": LOAD / STIFFNESS,
    "stiffness": STIFFNESS,
    "colour": RNG.choice(["red", "green", "blue"], COUNT),
    "load": LOAD,
    "steel": RNG.choice([True, False], COUNT),
    "coils": RNG.integers(3, 9, COUNT),
}
GRAPH = [["stiffness", "length"], ["load", "length"]]
IMAGES = RNG.integers(0, 256, (COUNT, 28, 6, 1), np.uint8)
NAMES = ("length", "stiffness", "colour", "load", "steel", "coils")
SIZES = (0, 0, 3, 0, 2, 6)


def _springs(**about) -> data.Dataset:
    return data.from_table(SPRINGS, images=IMAGES, **about)


def _in_folder(folder: Path, ending: str, columns: dict, **about) -> str:
    path = folder / f"factors.{ending}"
    if ending == "csv":
        pd.DataFrame(columns).to_csv(path, index=False)
    elif ending == "tsv":
        pd.DataFrame(columns).to_csv(path, index=False, sep="\t")
    elif ending == "parquet":
        pyarrow.parquet.write_table(pa.table(columns), path)
    else:
        pyarrow.feather.write_feather(pa.table(columns), str(path))
    np.save(folder / "images.npy", IMAGES)
    (folder / "about.json").write_text(json.dumps(about))
    return f"own:{folder}"


@pytest.mark.parametrize("way", ["csv", "tsv", "parquet", "feather", "pandas", "polars", "arrow"])
def test_springs_with_a_graph(way, tmp_path):
    whole = _springs(graph=GRAPH)
    tables = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "arrow": pa.table}
    if way in tables:
        found = data.from_table(tables[way](SPRINGS), images=IMAGES, graph=GRAPH)
    else:
        found = data.load(_in_folder(tmp_path, way, SPRINGS, graph=GRAPH))
    info = found.info
    assert info.factor_names == NAMES and info.factor_sizes == SIZES
    assert info.image_shape == (28, 6, 1) and info.unordered == ("colour",)
    assert info.graph is not None and np.array(info.graph).tolist() == [
        [int([cause, effect] in GRAPH) for cause in NAMES] for effect in NAMES
    ]
    colours = sorted(set(SPRINGS["colour"]))
    index = [colours.index(colour) for colour in SPRINGS["colour"]]
    values = [(SPRINGS | {"colour": index})[name] for name in NAMES]
    np.testing.assert_array_equal(found.values, np.stack(values, 1).astype(np.float32), strict=True)
    steps = SPRINGS | {"colour": index, "coils": SPRINGS["coils"] - 3}
    for name, size, column in zip(NAMES, SIZES, found.factors.T, strict=True):
        np.testing.assert_array_equal(column, steps[name] if size else 0)
    np.testing.assert_allclose(np.array(info.value_mean), found.values.mean(0), rtol=1e-5)
    np.testing.assert_allclose(np.array(info.value_std), found.values.std(0), rtol=1e-5)
    for one, other in zip(found.splits.values(), whole.splits.values(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(UserError, match=r"continuous: length, stiffness, load.*'kinds' makes"):
        transitions.build(found.factors, info, np.arange(COUNT))


def test_what_numbers_are_unless_kinds_say_otherwise():
    columns = {
        "measured": STIFFNESS,
        "rounded": STIFFNESS.round(2),  # some 200 values, four images each
        "grid": np.tile(np.linspace(0.1, 0.9, 64), 13)[:COUNT],
        "two": np.where(LOAD > 1.01, 2.5, 4),
        "class": np.tile(np.arange(COUNT // 2), 2),
    }
    sizes = data.from_table(columns, images=IMAGES).info.factor_sizes
    assert sizes == (0, 0, 64, 2, 0)
    kinds = {"rounded": "discrete", "grid": "continuous", "class": "categorical"}
    chosen = data.from_table(columns, images=IMAGES, kinds=kinds).info
    assert chosen.factor_sizes == (0, len(np.unique(columns["rounded"])), 0, 2, COUNT // 2)
    assert chosen.unordered == ("class",)
    # 100 values are few if each occurs a hundred times.
    many = np.repeat(np.linspace(0, 1, 100), 100)[:, None]
    pixels = np.zeros((10_000, 1, 1, 1), np.uint8)
    assert data.from_arrays(pixels, many).info.factor_sizes == (100,)
    assert data.from_arrays(pixels[:9900], many[:9900]).info.factor_sizes == (99,)
    assert data.from_arrays(pixels[:6500], np.repeat(many[::100], 65, 0)).info.factor_sizes == (0,)


def test_float_arrays_with_missing_labels(tmp_path, capsys):
    labels = np.stack([STIFFNESS, SPRINGS["coils"]], axis=1).astype(np.float32)
    labels[5, 1] = labels[7, 0] = labels[8] = np.nan
    np.save(tmp_path / "images.npy", IMAGES)
    np.save(tmp_path / "factors.npy", labels)
    (tmp_path / "about.json").write_text('{"factors": ["stiffness", "coils"]}')
    for found in (
        data.load(f"own:{tmp_path}"),
        data.from_arrays(IMAGES, labels, names=["stiffness", "coils"]),
    ):
        np.testing.assert_array_equal(found.values, labels, strict=True)
        assert found.info.partly_labelled and found.info.factor_sizes == (0, 6)
        assert found.factors[[5, 6, 7, 8]].tolist() == [
            [0, -1],
            [0, SPRINGS["coils"][6] - 3],
            [-1, SPRINGS["coils"][7] - 3],
            [-1, -1],
        ]
        np.testing.assert_allclose(
            np.array(found.info.value_mean), np.nanmean(labels, 0), rtol=1e-5
        )
        np.testing.assert_allclose(np.array(found.info.value_std), np.nanstd(labels, 0), rtol=1e-5)
        assert not {5, 7, 8} & set(found.fully_labelled(np.arange(COUNT)).tolist())
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "3 of 800 images lack labels (stiffness 2, coils 2)." in said[0]


@pytest.mark.parametrize("cell", ["", "nan", "NaN", "NA", '" "'])
def test_a_missing_label_keeps_its_image_but_has_no_transitions(cell, tmp_path):
    rows = [f"{x},{word}" for x in range(3) for word in ("no", "Yes", "yes", "NO")]
    (tmp_path / "factors.csv").write_text("\n".join(["x,seen", *rows[:-1], f"2,{cell}"]))
    np.save(tmp_path / "images.npy", IMAGES[:12])
    found = data.load(f"own:{tmp_path}")
    assert found.factors[:, 1].tolist() == [0, 1, 1, 0] * 2 + [0, 1, 1, -1]
    assert found.factors[11].tolist() == [2, -1] and found.info.repeats
    assert found.info.factor_sizes == (3, 2) and not found.info.unordered
    pairs = transitions.build(found.factors, found.info, np.arange(12))
    assert 11 not in {*pairs.x.tolist(), *pairs.y.tolist()}
    # Without it, one image of (2, no) is left for two of (1, no), and for two of (2, yes).
    assert np.bincount(pairs.action).tolist() == [4 + 3, 2 + 2 + 1] * 2


def test_digits_repeat_their_class():
    digits: Any = load_digits()
    names = np.array(["zero", "one", "two", "three", "four", "five", "six"])
    images = (digits.images * 15).astype(np.uint8)[..., None]
    found = data.from_arrays(images, digits.target[:, None], names=["digit"])
    assert found.info.repeats and found.info.factor_sizes == (10,) and found.info.count == 1797
    pairs = transitions.build(found.factors, found.info, found.splits["train"])
    known = np.bincount(digits.target[found.splits["train"]])
    assert len(pairs.x) == 2 * np.minimum(known[1:], known[:-1]).sum()
    few = digits.target < len(names)
    words = data.from_table({"digit": names[digits.target[few]]}, images=images[few])
    assert words.info.unordered == ("digit",)
    ordered = data.from_table(
        {"digit": names[digits.target[few]]}, images=images[few], order={"digit": list(names)}
    )
    assert not ordered.info.unordered
    np.testing.assert_array_equal(ordered.factors[:, 0], digits.target[few])


def test_combinations_beyond_any_table(tmp_path):
    """Ten columns of 400 values: 10^26 combinations, of which 800 occur."""
    columns = {f"c{i}": RNG.permutation(np.arange(COUNT) // 2) for i in range(10)}
    for column in columns.values():
        column[1] = column[0]
    columns["c3"][:2] = 7, 8
    kinds = dict.fromkeys(columns, "discrete")
    found = data.from_table(columns, images=IMAGES, kinds=kinds)
    assert found.info.factor_sizes == (400,) * 10 and not found.info.repeats
    pairs = transitions.build(found.factors, found.info, np.arange(COUNT))
    assert [column.tolist() for column in pairs] == [[0, 1], [1, 0], [3, 13]]


# Splits and groups


def test_a_split_in_a_column_or_a_file(tmp_path):
    words = np.array(["train", "VAL", "test", "Training", "dev", "valid", "validation"])
    given = words[np.arange(COUNT) % len(words)]
    expected = np.array([0, 1, 2, 0, 1, 1, 1])[np.arange(COUNT) % len(words)]
    name = _in_folder(tmp_path, "csv", SPRINGS | {"part": given}, split="part")
    np.save(tmp_path / "split.npy", given)
    (tmp_path / "split.csv").write_text("\n".join(["split", *given]))
    for found in (
        data.load(name),
        data.load(_in_folder(tmp_path, "csv", SPRINGS, split="split.npy")),
        data.load(_in_folder(tmp_path, "csv", SPRINGS, split="split.csv")),
        _springs(split=given),
        data.from_table(SPRINGS | {"part": given}, images=IMAGES, split="part"),
        data.from_arrays(IMAGES, STIFFNESS[:, None], split=list(given)),
    ):
        for number, index in enumerate(found.splits.values()):
            np.testing.assert_array_equal(index, np.flatnonzero(expected == number))
        assert "part" not in found.info.factor_names


def test_validation_is_taken_from_training_images_if_none_is_given(capsys):
    given = np.where(np.arange(COUNT) < 600, "train", "test")
    subject = np.arange(COUNT) // 20
    for group in (None, subject):
        found = _springs(split=given, group=group, name=f"by {group is not None}")
        train, validation, test = found.splits.values()
        assert (len(train), len(validation), len(test)) == ((510, 90, 200), (520, 80, 200))[
            group is not None
        ]
        assert validation.max() < 600 <= test.min()
        again = _springs(split=given, group=group).splits["validation"]
        np.testing.assert_array_equal(again, validation)
    assert not set(subject[train]) & set(subject[validation])
    assert "90 of the 600 training images are used for it" in capsys.readouterr().err


@pytest.mark.parametrize("groups", [3, 4, 40])
def test_a_group_is_in_one_split(groups, tmp_path):
    subject = RNG.permutation(np.arange(COUNT) % groups)
    named = SPRINGS | {"subject": [f"s{i:02}" for i in subject]}
    name = _in_folder(tmp_path, "csv", named, group="subject")
    for found in (data.load(name), _springs(group=[f"s{i:02}" for i in subject])):
        parts = [set(subject[index].tolist()) for index in found.splits.values()]
        assert sum(map(len, parts)) == groups == len(set.union(*parts))
        assert min(map(len, parts)) == max(1, round(0.15 * groups))
        assert "subject" not in found.info.factor_names
        assert sum(map(len, found.splits.values())) == COUNT


def test_without_a_split_or_groups_positions_decide():
    expected = split_of(COUNT, 0)
    for number, index in enumerate(_springs().splits.values()):
        np.testing.assert_array_equal(index, np.flatnonzero(expected == number))


# Faults

HALF = np.where(np.arange(COUNT) % 2, "a", "b")


@pytest.mark.parametrize(
    "columns, about, said",
    [
        ({}, {"graph": [["load", "lenth"]]}, "'graph' names 'lenth' .*did you mean 'length'"),
        ({}, {"graph": [["load", "load"]]}, "lets 'load' cause itself"),
        ({}, {"graph": [*GRAPH, GRAPH[1]]}, "the edge load -> length twice"),
        (
            {},
            {"graph": [*GRAPH, ["length", "coils"], ["coils", "load"]]},
            "a cycle: (load -> length -> coils -> load|length -> coils -> load -> length|"
            "coils -> load -> length -> coils)",
        ),
        ({}, {"graph": [["load"]]}, "'graph' cannot be read.*Write a list of edges"),
        ({}, {"graph": [["load", "length", "coils"]]}, "'graph' cannot be read"),
        ({}, {"graph": GRAPH, "factors": ["load", "length"]}, "'graph' names 'stiffness', but"),
        ({}, {"factors": ["load", "load"]}, "'factors' names a factor twice"),
        (
            {},
            {"kinds": {"load": "continous"}},
            "'kinds'.*'continous'.*\"continuous\", \"discrete\"",
        ),
        ({}, {"kinds": {"lood": "discrete"}}, "'kinds' names 'lood' .*did you mean 'load'"),
        ({}, {"kinds": {"colour": "continuous"}}, "'colour' is text, .* on row 0 of the table"),
        ({}, {"circular": ["load"]}, "'load' is continuous, so it has no steps .*'circular'"),
        ({}, {"circular": ["steel"]}, "'steel' has only two values"),
        ({}, {"order": {"coils": [3, 4, 5]}}, "order of 'coils' .* are 3, 4, 5, 6, 7, 8"),
        ({}, {"kind": {}}, "no field 'kind' .*did you mean 'kinds'"),
        ({}, {"licence": np.zeros}, "licence hold something else"),
        ({}, {"split": "colour"}, "row 0 of the table puts an image into the split"),
        ({}, {"split": "color"}, "'split' names 'color' .*did you mean 'colour'"),
        ({}, {"split": ["train"] * 9}, "'split' has 9 entries for 800 images"),
        ({}, {"split": ["train"] * COUNT}, "no image is in the split 'test'"),
        ({}, {"split": ["test"] * COUNT}, "no image is in the split 'train'"),
        ({}, {"group": HALF}, "are of 2 groups, but three splits need at least three"),
        ({}, {"group": ["a"] * COUNT}, "are of 1 group, but"),
        (
            {},
            {"group": HALF, "split": ["train", "test"] * 400},
            "training images are one group, of which none",
        ),
        (
            {},
            {"group": HALF, "split": ["train", "test", "val", "test"] * 200},
            "the group 'b' has images in several splits",
        ),
        ({"x": np.full(COUNT, np.nan)}, {}, "'x' has no labels"),
        ({"x": [1.5] * COUNT}, {}, "'x' has one value, 1.5, in all"),
        ({"x": 1e9 + LOAD}, {"kinds": {"x": "continuous"}}, "'x', from 1e.* too close"),
        ({"x": np.where(LOAD > 1.5, 1e9, 1e9 + 1)}, {}, "'x', from 1e.* too close"),
        ({"x": LOAD * 1e-50}, {}, "'x', from 1.*e-50 .* too close"),
        ({"x": [2**53 + 1] * COUNT}, {}, r"row 0 of the table has 9007199254740993 .*2\^53"),
        ({"x": [-np.inf, *LOAD[1:]]}, {}, "row 0 of the table has -inf .*infinite"),
        ({"x": [None, None, "7.1.", *map(str, LOAD[3:])]}, {}, r"row 2 .*'7\.1\.'.*797 other"),
        ({"x": [[1]] * COUNT}, {}, "'x' holds list<"),
        ({"x": [b"1"] * COUNT}, {}, "'x' holds binary"),
        ({"x": np.datetime64("2026-01-01") + np.arange(COUNT)}, {}, "'x' holds date"),
        ({"x": [1, "a"] * 400}, {}, "the table cannot be read"),
        ({"x": [1]}, {}, "the table cannot be read"),
        ({"x": ["\ud800"] * COUNT}, {}, "the table cannot be read"),
        ({"": LOAD}, {}, "a column without a name"),
    ],
)
def test_faults_are_the_same_for_tables(columns, about, said):
    with pytest.raises(UserError, match=f"(?s)^mine: .*{said}") as error:
        data.from_table(SPRINGS | columns, images=IMAGES, name="mine", **about)
    message = str(error.value)
    assert "\n" not in message and len(message) < 400


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: data.from_arrays(IMAGES[:9], STIFFNESS[:, None]), "9 images but 800 rows"),
        (lambda: data.from_arrays(IMAGES / 255, STIFFNESS[:, None]), "float64.*not uint8"),
        (lambda: data.from_arrays(IMAGES, STIFFNESS), r"float64 \[800\], not numbers \[n, F\]"),
        (lambda: data.from_arrays(IMAGES, STIFFNESS[:, None], names="ab"), "'factors' cannot be"),
        (
            lambda: data.from_arrays(IMAGES, STIFFNESS[:, None], names=["a", "b"]),
            "has 2 names for 1 factors",
        ),
        (lambda: data.from_table(SPRINGS), "both given, or neither. Give one"),
        (lambda: data.from_table(3, images=IMAGES), "the table cannot be read"),
        (lambda: data.from_table({}, images=IMAGES), "the table lists no images"),
    ],
)
def test_faults_of_arrays(call, said):
    with pytest.raises(UserError, match=f"^arrays: .*{said}"):
        call()


def test_factors_keep_their_order_whatever_the_graph():
    names = ("length", "coils", "load", "stiffness")
    for graph in itertools.permutations([*GRAPH, ["coils", "stiffness"]]):
        info = _springs(graph=graph, factors=names).info
        assert info.factor_names == names
        assert info.graph == ((0, 0, 1, 1), (0, 0, 0, 0), (0, 0, 0, 0), (0, 1, 0, 0))
