"""The sheet about a data set."""

import dataclasses
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from tiny_store import tiny_store

from cdis import data
from cdis.data import show, summary, transitions
from cdis.data.pendulum import Pendulum
from cdis.errors import UserError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> data.Dataset:
    return tiny_store(tmp_path_factory.mktemp("data")).load()


@pytest.fixture
def loaded(dataset, monkeypatch) -> data.Dataset:
    monkeypatch.setattr(data, "load", lambda name, data_dir: dataset)
    monkeypatch.setattr(data, "mechanism", lambda name: None)
    return dataset


def _words(dataset: data.Dataset, mechanism: data.Mechanism | None = None) -> str:
    figure = show._sheet(dataset, mechanism)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    return "\n".join([*texts, *titles, *(text.get_text() for text in figure.texts)])


def test_sheet_holds_tables_and_traversals(loaded):
    words = _words(loaded)
    for line in (
        "shape: 3 of 3 values: 0, 1, 2",
        "shape               categorical 3: 0, 1, 2",
        "scale               binary      2: 5, 7",
        "x                   ordered     4: 9, 13, 18, 23",
        "validation                 14",
    ):
        assert line in words
    for name in loaded.info.action_names:
        assert name in words
    assert "Licence: Apache-2.0" in words


def test_a_traversal_moves_one_factor(loaded):
    row = show._traversal(loaded, 2)
    wanted = [
        np.flatnonzero((loaded.factors == np.array([1, 1, value, 2])).all(axis=1))[0]
        for value in range(4)
    ]
    np.testing.assert_array_equal(np.stack(row.images)[..., :1], loaded.images[wanted])


def test_a_traversal_of_an_incomplete_grid_shows_as_many_values_as_there_are(loaded):
    """Around a combination that has them all, though it is far from the middle."""
    kept = (loaded.factors[:, 2] != 1) | (loaded.factors == [0, 0, 1, 0]).all(1)
    few = np.flatnonzero(kept)
    info = dataclasses.replace(loaded.info, count=len(few))
    holes = data.Dataset(
        info, loaded.images[few], loaded.factors[few], {"train": few[:0]}, loaded.values[few]
    )
    row = show._traversal(holes, 2)
    assert row.label == "x: 4 of 4 values: 9, 13, 18, 23" and len(row.images) == 4
    row = show._traversal(holes, 3)
    assert row.label.startswith("y: 4 of 4") and len(row.images) == 4


def test_rows_share_lines_in_order():
    rows = [show._Row(str(size), [np.zeros((1, 1, 3))] * size) for size in (3, 6, 4, 8, 8, 20, 1)]
    lines = [[len(row.images) for row in line] for line in show._packed(rows)]
    assert lines == [[3, 6, 4], [8, 8], [20], [1]]


def test_causal_sheet_shows_interventions_ranges_and_the_graph():
    mechanism = data.mechanism("pendulum/clean")
    assert mechanism is not None
    builder, variant = Pendulum, Pendulum.BUILDER_CONFIGS[0]
    rows = np.arange(7, 7392, 29)
    images, factors, values = builder.examples(variant, rows[:255])
    splits = {
        "train": np.arange(200),
        "validation": np.arange(200, 220),
        "test": np.arange(220, 255),
    }
    dataset = data.Dataset(builder.facts(variant), images, factors, splits, values)
    words = _words(dataset, mechanism)
    for name, column in zip(dataset.info.factor_names, values[:200].T, strict=True):
        assert f"do({name} = {column.min():.3g} ... {column.max():.3g})" in words
    assert f"shadow_length       continuous  3 to {values[:, 2].max():.4g}, mean" in words
    assert "shadow_position hardly varies apart from its causes" in words
    assert "transitions" not in words

    row = show._interventions(dataset, mechanism, 1)
    read = np.asarray(mechanism.referee(np.stack(row.images)))
    lights = np.linspace(values[:200, 1].min(), values[:200, 1].max(), 20)
    np.testing.assert_allclose(read[:, 1], lights, atol=0.02)
    assert np.ptp(read[:, 0]) < 0.01  # the angle is not an effect of the light
    assert (np.diff(read[:, 3]) < 0).all()  # the shadow's position is one


# Data as it comes


NAMES = ("mass", "colour", "$\\frac$", "stretch\n\x1b[2J" + "n" * 200)


def _photographs(count: int = 120, shape: tuple[int, int, int] = (28, 28, 1)) -> data.Dataset:
    """Every kind of factor, some labels missing; images are as bright as the mass is large."""
    rng = np.random.default_rng(0)
    mass, colour, blocked = rng.random(count), rng.integers(0, 3, count), rng.random(count) < 0.3
    stretch = mass + rng.normal(0, 0.2, count)
    values = np.stack([mass, colour * 10, blocked, stretch], 1).astype(np.float32)
    factors = np.stack([0 * colour, colour, blocked, 0 * colour], 1).astype(np.int32)
    unknown = rng.random(values.shape) < 0.1
    values[unknown], factors[unknown] = np.nan, -1
    images = np.broadcast_to((255 * mass).astype(np.uint8)[:, None, None, None], (count, *shape))
    info = data.Info(
        name="own:$x$",
        factor_names=NAMES,
        factor_sizes=(0, 3, 2, 0),
        circular=(False,) * 4,
        image_shape=shape,
        licence="$x",
        citation="$\\x",
        description="Springs.",
        count=count,
        graph=((0,) * 4, (0,) * 4, (0,) * 4, (1, 0, 0, 0)),
        value_mean=(0.0,) * 4,
        value_std=(1.0,) * 4,
        unordered=("colour",),
        repeats=True,
        partly_labelled=True,
    )
    a, b = count * 7 // 10, count * 85 // 100
    splits = {
        "train": np.arange(a), "validation": np.arange(a, b), "test": np.arange(b, count),
    }  # fmt: skip
    return data.Dataset(info, images, factors, splits, values)


def test_kinds_values_missing_labels_and_splits_are_listed():
    dataset = _photographs()
    words = _words(dataset)
    unknown = np.isnan(dataset.values).sum(0)
    assert "without a label" in words and unknown.min() > 0
    table = summary.factor_table(dataset)
    assert re.fullmatch(
        r"mass +continuous +0\.\S+ to 0\.9\S+, mean 0\.\d+, std 0\.\d+; "
        f"{unknown[0]} without a label",
        table[1],
    )
    shares = np.bincount(dataset.factors[dataset.factors[:, 1] >= 0, 1]) / (120 - unknown[1])
    listed = ", ".join(f"{10 * i} ({100 * s:.3g}%)" for i, s in enumerate(shares))
    assert f"colour              categorical 3: {listed}; {unknown[1]} without a label" == table[2]
    assert table[3].startswith("$\\frac$             binary      2: 0 (")
    assert table[4].startswith("stretch  [2J" + "n" * 6 + "… continuous")
    complete = np.isfinite(dataset.values[:84]).all(1).sum()
    assert f"train                      84{complete:17}" in words


def test_rows_of_data_without_a_renderer_follow_the_values():
    dataset = _photographs()
    row = show._ordered(dataset, 0)
    bright = [int(image[0, 0, 0]) for image in row.images]
    assert len(bright) == 20 and bright == sorted(bright) and bright[0] < 30 and bright[-1] > 220
    row = show._ordered(dataset, 1)
    assert row.label.startswith("colour (categorical): 0, 10, 20; ") and len(row.images) == 20
    # Typical in the others: among the images of a colour, the masses are near their median.
    bright = np.array([int(image[0, 0, 0]) for image in row.images])
    assert bright.std() < 0.7 * (255 * np.nanstd(dataset.values[:, 0]))


@pytest.mark.parametrize("shape", [(28, 28, 1), (64, 78, 3), (512, 16, 3), (300, 300, 3)])
@pytest.mark.parametrize("count", [7, 60])
def test_any_size_and_number_of_images_fits_on_a_page(count, shape, tmp_path, monkeypatch):
    dataset = _photographs(count, shape)
    monkeypatch.setattr(data, "load", lambda name, data_dir: dataset)
    monkeypatch.setattr(data, "mechanism", lambda name: None)
    show.write_sheet("own:x", None, str(tmp_path / "sheet.png"))
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 1200 and 500 < sheet.height < 3000


def test_forty_factors_fit_on_a_page():
    count, many = 60, 41
    rng = np.random.default_rng(0)
    info = data.Info(
        "own:many", tuple(f"f{i}" for i in range(many)), (0,) * many, (False,) * many, (8, 8, 1),
        "", "", "", count=count, graph=tuple((1,) * i + (0,) * (many - i) for i in range(many)),
    )  # fmt: skip
    splits = {"train": np.arange(40), "validation": np.arange(40, 50), "test": np.arange(50, 60)}
    images, factors = np.zeros((count, 8, 8, 1), np.uint8), np.zeros((count, many), np.int32)
    values = rng.normal(size=(count, many)).astype(np.float32)
    figure = show._sheet(data.Dataset(info, images, factors, splits, values), None)
    assert figure.get_size_inches()[1] < 100
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert "and 1 factors more" in titles


def _plain(columns: list[np.ndarray], sizes: tuple[int, ...], *, repeats: bool) -> data.Dataset:
    values = np.stack(columns, 1).astype(np.float32)
    count, many = values.shape
    known = np.isfinite(values)
    info = data.Info(
        "own:x", tuple("abc"[:many]), sizes, (False,) * many, (8, 8, 1), "", "", "", count=count,
        repeats=repeats, partly_labelled=not known.all(),
    )  # fmt: skip
    indices = np.where(np.array(sizes) > 0, np.where(known, values, -1), 0).astype(np.int32)
    splits = {"train": np.arange(count), "validation": np.arange(0), "test": np.arange(0)}
    return data.Dataset(info, np.zeros((count, 8, 8, 1), np.uint8), indices, splits, values)


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        (_plain([np.full(50, np.nan), np.arange(50)], (0, 0), repeats=True), "no labels"),
        (_plain([np.full(50, np.nan), np.arange(50) % 2], (3, 2), repeats=True), "no training"),
        (_plain([1e8 + 8 * (np.arange(50) % 2)], (0,), repeats=True), "1e+08 to 1e+08"),
        (_plain([5e37 * np.arange(-5, 5)], (0,), repeats=True), "-2.5e+38 to 2e+38"),
        (_plain([np.array([3.0])], (0,), repeats=True), "3 to 3, mean 3, std 0"),
        (_plain([np.arange(6), np.arange(6)[::-1]], (6, 6), repeats=False), "a: 1 of 6 values"),
        (_plain([np.arange(6)], (6,), repeats=False), "a: 6 of 6 values: 0, 1, 2, 3, 4, 5"),
    ],
)
def test_odd_data_sets_have_a_sheet(dataset, said, tmp_path):
    """Without labels, of one image, of huge or hardly different values, without any neighbours."""
    assert said in _words(dataset)
    show._sheet(dataset, None).savefig(tmp_path / "sheet.png", dpi=20)


def test_names_are_never_read_as_mathematics(tmp_path):
    """`\\frac` without arguments is an error in mathematics: drawing would fail."""
    figure = show._sheet(_photographs(), None)
    figure.savefig(tmp_path / "sheet.png")
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        assert "$" not in text.get_text() or not text.get_parse_math()
        assert len(max(text.get_text().splitlines(), key=len, default="")) < 160


def test_layers_put_effects_below_their_causes():
    graph = ((0, 0, 0, 0), (0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 1, 0))
    info = dataclasses.replace(_photographs().info, graph=graph)
    assert show._layers(info) == [[0, 1], [2], [3]]
    backwards = dataclasses.replace(info, graph=tuple(row[::-1] for row in graph[::-1]))
    assert show._layers(backwards) == [[2, 3], [1], [0]]
    figure = Figure()
    axes = figure.subplots()
    show._graph(axes, info)
    place = {text.get_text()[:4]: text.get_position() for text in axes.texts if text.get_text()}
    assert place["mass"][1] > place["$\\fr"][1] > place["stre"][1]
    arrows = [text for text in axes.texts if not text.get_text()]
    assert len(arrows) == 3


def test_pairs_are_shown_where_images_share_factors():
    dataset = _photographs()
    chosen = np.isfinite(dataset.values).all(1)
    info = dataclasses.replace(
        dataset.info, factor_names=NAMES[1:3], factor_sizes=(3, 2), circular=(False,) * 2,
        graph=None, count=int(chosen.sum()), partly_labelled=False,
    )  # fmt: skip
    rows = np.arange(info.count or 0)
    splits = {"train": rows[:40], "validation": rows[40:60], "test": rows[60:]}
    dataset = data.Dataset(
        info, dataset.images[chosen], dataset.factors[chosen, 1:3], splits,
        dataset.values[chosen, 1:3],
    )  # fmt: skip
    pairs = transitions.build(dataset.factors, info, splits["train"])
    row = show._transitions(dataset, pairs, 0)
    found = np.flatnonzero(pairs.action == 0)
    assert row.label == f"colour+1: {min(10, len(found))} of {len(found)} training pairs"
    np.testing.assert_array_equal(row.images[0][..., :1], dataset.images[pairs.x[found[0]]])
    np.testing.assert_array_equal(row.images[1][..., :1], dataset.images[pairs.y[found[0]]])
    assert row.label in _words(dataset)


# The file


def test_sheet_is_a_png(loaded, tmp_path):
    path = tmp_path / "sheet.png"
    path.write_bytes(b"old")
    show.write_sheet(loaded.info.name, None, str(path))
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        assert min(sheet.size) > 600
        assert np.asarray(sheet).std() > 10
    assert list(tmp_path.iterdir()) == [path]


def test_a_sheet_that_cannot_be_written_is_reported(loaded, tmp_path):
    with pytest.raises(UserError, match=r"could not be written to .*a folder that exists"):
        show.write_sheet(loaded.info.name, None, str(tmp_path / "missing" / "sheet.png"))
