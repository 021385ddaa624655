"""A sheet about a data set: samples, a row of images per factor, tables, graph and warnings.

Nothing that comes from the data is read as mathematics or otherwise interpreted, and names are
shortened: they may be anything.
"""

import dataclasses
import io
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cdis import data
from cdis.data import transitions
from cdis.data.advice import warnings_about
from cdis.data.info import Dataset, Info
from cdis.data.mechanism import Mechanism
from cdis.data.summary import (
    VALUES_AT,
    factor_table,
    kind,
    missing,
    named,
    physical,
    shortened,
    split_table,
)
from cdis.errors import UserError
from cdis.files import write_bytes
from cdis.ops.adjacency import topological_order

_CELLS = 20  # images side by side
_SAMPLE_ROWS = 5
_MOST_FACTORS = 40  # that get a row of images, or a histogram
_MOST_WARNINGS = 15
_MOST_NODES = 6  # of the graph side by side
_LARGEST = 128  # pixels of an image that are drawn, by height and by width
_GREY = 96

# In inches.
_WIDTH, _MARGIN = 12.0, 0.25
_CELL = (_WIDTH - 2 * _MARGIN) / _CELLS
_TALLEST_CELL = 3 * _CELL
_TITLE = 0.24  # a line above pictures and histograms
_LINE, _CHARACTER = 0.155, 0.08  # of text of 9 points in a monospaced font
_LEFT_TABLES = 6.0
_HISTOGRAM = 1.05  # with its title and its scale
_LEAST_CELLS = 5  # of a row of images, so that there is room for its title


#: Makes axes at (left, down, width, height), in inches from an upper left corner.
_MakeAxes = Callable[[float, float, float, float], Axes]


class _Row(NamedTuple):
    """Images side by side, and what they show."""

    label: str
    images: list[np.ndarray]


class _Band(NamedTuple):
    """A part of the sheet, over its whole width: its height in inches, and what draws it."""

    height: float
    draw: Callable[[_MakeAxes], None]


def write_sheet(name: str, data_dir: str | None, path: str) -> None:
    """Write a PNG sheet about a data set, preparing the data set if need be.

    It shows warnings about what will hurt (`cdis.data.advice`), a grid of samples, a row of images
    per factor, the factors with their kinds and values, the size of each split, the licence, the
    causal graph if one is known, and the number of transitions of each action in each split, or
    histograms of continuous factors. The row of a factor shows, whichever of these is possible
    first:

    - one image under do(factor = value), with the resulting effects, if there is a mechanism that
      renders;
    - images that differ in this factor alone, if combinations occur once;
    - pairs of images between which it goes one step up, if images share factors;
    - images in the order of its values, or of quantiles if it is continuous, whose other factors
      are typical.

    Raises:
      UserError: the data set is unknown or damaged, or the path is not writable.
    """
    figure = _sheet(data.load(name, data_dir), data.mechanism(name))
    picture = io.BytesIO()
    with warnings.catch_warnings():
        # The font lacks most of the world's scripts, and draws boxes for them.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(picture, dpi=100, format="png")
    try:
        if not Path(path).parent.is_dir():
            raise FileNotFoundError("the folder does not exist")
        write_bytes(Path(path), picture.getvalue())
    except OSError as error:
        raise UserError(
            f"The sheet could not be written to {path}: {error}. Choose a file in a folder that "
            "exists and is writable."
        ) from error


def _sheet(dataset: Dataset, mechanism: Mechanism | None) -> Figure:
    rows = [*_factor_rows(dataset, mechanism)]
    bands = [
        _warnings(dataset),
        _samples(dataset),
        *(_rows_band(line) for line in _packed(rows)),
        _tables(dataset),
    ]
    title = f"{shortened(dataset.info.name, 60)}: {len(dataset.images):,} images"
    height = 0.7 + sum(band.height for band in bands)
    figure = Figure(figsize=(_WIDTH, height))
    FigureCanvasAgg(figure)
    figure.text(0.5, 1 - 0.35 / height, title, ha="center", fontsize=16, parse_math=False)
    top = 0.6
    for band in bands:
        band.draw(_axes_below(figure, top, height))
        top += band.height
    return figure


def _axes_below(figure: Figure, top: float, height: float) -> _MakeAxes:
    def axes(left: float, down: float, wide: float, high: float) -> Axes:
        bottom = height - top - down - high
        return figure.add_axes((left / _WIDTH, bottom / height, wide / _WIDTH, high / height))

    return axes


# Pictures


def _drawn(images: np.ndarray) -> list[np.ndarray]:
    """Images [n, H, W, C] as RGB; of large ones, every second pixel, or third, and so on."""
    step = -(-max(images.shape[1:3]) // _LARGEST)
    small = images[:, ::step, ::step]
    return list(np.repeat(small, 3, axis=-1) if small.shape[-1] == 1 else small)


def _side_by_side(images: list[np.ndarray]) -> np.ndarray:
    """Images in one row, each with a grey line to its right and below it."""
    gap = -(-max(images[0].shape[:2]) // 32)
    border = ((0, gap), (0, gap), (0, 0))
    return np.concatenate([np.pad(i, border, constant_values=_GREY) for i in images], axis=1)


def _cell_height(image: np.ndarray) -> float:
    """Of an image drawn as wide as a cell, or narrower if it is tall; in inches."""
    return min(_CELL * image.shape[0] / image.shape[1], _TALLEST_CELL)


def _picture(axes: Axes, picture: np.ndarray, label: str) -> None:
    axes.imshow(picture)
    axes.set_title(label, loc="left", fontsize=9, pad=2, parse_math=False)
    axes.set_anchor("NW")
    axes.axis("off")


def _samples(dataset: Dataset) -> _Band:
    count = min(_SAMPLE_ROWS * _CELLS, len(dataset.images))
    chosen = np.random.default_rng(0).choice(len(dataset.images), count, replace=False)
    images = _drawn(dataset.images[chosen])
    images += [np.full_like(images[0], 255)] * (-count % _CELLS)
    lines = [_side_by_side(images[i : i + _CELLS]) for i in range(0, len(images), _CELLS)]
    height = _TITLE + len(lines) * _cell_height(images[0])

    def draw(axes: _MakeAxes) -> None:
        place = axes(_MARGIN, _TITLE, _CELLS * _CELL, height - _TITLE)
        _picture(place, np.concatenate(lines), "random sample")

    return _Band(height + 0.1, draw)


def _packed(rows: list[_Row]) -> list[list[_Row]]:
    """Rows of images on as few lines as their order allows, with a cell between two."""
    lines, free = [], 0
    for row in rows:
        wide = max(len(row.images), _LEAST_CELLS)
        if wide > free:
            lines.append([])
            free = _CELLS
        lines[-1].append(row)
        free -= wide + 1
    return lines


def _rows_band(rows: list[_Row]) -> _Band:
    height = max((_cell_height(row.images[0]) for row in rows if row.images), default=0.0)

    def draw(axes: _MakeAxes) -> None:
        left = _MARGIN
        for row in rows:
            wide = max(len(row.images), _LEAST_CELLS)
            place = axes(left, _TITLE, wide * _CELL, height or 0.01)
            picture = _side_by_side(row.images) if row.images else np.full((1, 1, 3), 255, np.uint8)
            room = (wide + 1) * _CELL if row is not rows[-1] else _WIDTH - _MARGIN - left
            _picture(place, picture, shortened(row.label, int(room / _CHARACTER)))
            left += (wide + 1) * _CELL

    return _Band(_TITLE + height + 0.06, draw)


# A row of images for each factor


def _factor_rows(dataset: Dataset, mechanism: Mechanism | None) -> list[_Row]:
    info = dataset.info
    pairs = None
    if info.repeats and all(info.factor_sizes):
        train = dataset.fully_labelled(dataset.splits["train"])
        pairs = transitions.build(dataset.factors, info, train)
    rows = []
    for factor in range(min(info.num_factors, _MOST_FACTORS)):
        if mechanism is not None and mechanism.render is not None:
            row = _interventions(dataset, mechanism, factor)
        elif pairs is not None and (pairs.action == factor).any():
            row = _transitions(dataset, pairs, factor)
        elif all(info.factor_sizes) and not info.repeats and not info.partly_labelled:
            row = _traversal(dataset, factor)
        else:
            row = _ordered(dataset, factor)
        rows.append(row)
    if len(rows) < info.num_factors:
        rows.append(_Row(f"and {info.num_factors - len(rows)} factors more", []))
    return rows


def _spread(count: int, most: int = _CELLS) -> np.ndarray:
    """At most `most` of the numbers 0, 1, ..., count - 1, evenly spaced, with both ends."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)


def _traversal(dataset: Dataset, factor: int) -> _Row:
    """Images that differ only in this factor.

    Of all combinations of the other factors, one that occurs with as many of its values as any;
    among these, the nearest to the middle of the grid.
    """
    info, factors = dataset.info, dataset.factors
    rest = np.delete(factors, factor, axis=1).astype(np.int64)
    # A random number for each combination: their exact numbers may exceed 64 bits.
    hashed = rest @ np.random.default_rng(0).integers(1 << 62, size=rest.shape[1])
    _, group, counts = np.unique(hashed, return_inverse=True, return_counts=True)
    middle = np.array(info.factor_sizes) // 2
    far = np.abs(factors - middle).sum(axis=1) + np.where(counts[group] < counts.max(), np.inf, 0)
    same = np.flatnonzero(group == group[far.argmin()])
    same = same[factors[same, factor].argsort()]
    label = f"{named(info, factor)}: {len(same)} of {info.factor_sizes[factor]} values"
    same = same[_spread(len(same))]
    steps = ", ".join(physical(dataset, factor, int(i)) for i in factors[same, factor])
    return _Row(f"{label}: {steps}", _drawn(dataset.images[same]))


def _transitions(dataset: Dataset, pairs: transitions.Transitions, factor: int) -> _Row:
    """Pairs of training images between which the factor goes one step up.

    The images of a pair share all other factors, but may differ in everything else.
    """
    found = np.flatnonzero(pairs.action == factor)
    some = found[_spread(len(found), _CELLS // 2)]
    shown = np.stack([pairs.x[some], pairs.y[some]], axis=1).ravel()
    label = f"{named(dataset.info, factor)}+1: {len(some)} of {len(found):,} training pairs"
    return _Row(label, _drawn(dataset.images[shown]))


def _interventions(dataset: Dataset, mechanism: Mechanism, factor: int) -> _Row:
    """Renderings of one training image under do(factor = value).

    The image is the one nearest the mean of all values. If something leaves the frame, the cell is
    grey.
    """
    info, values = dataset.info, dataset.values[dataset.splits["train"]]
    low, high = values[:, factor].min(), values[:, factor].max()
    far = (values - values.mean(0)) / values.std(0)
    middle = values[np.square(far).sum(1).argmin()]
    asked = np.linspace(low, high, _CELLS, dtype=np.float32)
    changed = mechanism.counterfactual(np.tile(middle, (len(asked), 1)), factor, asked)
    assert mechanism.render is not None
    images, inside = (np.asarray(f(changed)) for f in (mechanism.render, mechanism.inside))
    cells = np.where(inside[:, None, None, None], images, np.uint8(_GREY))
    label = f"do({named(info, factor)} = {low:.3g} ... {high:.3g})"
    return _Row(label, _drawn(cells))


def _ordered(dataset: Dataset, factor: int) -> _Row:
    """Images in the order of the factor's values, or of its quantiles if it is continuous.

    Among the training images of each value, or between two quantiles, those are shown whose other
    factors are most typical.
    """
    info = dataset.info
    train = dataset.splits["train"]
    train = train[np.isfinite(dataset.values[train, factor])]
    label = f"{named(info, factor)} ({kind(info, factor)})"
    if not len(train):
        return _Row(f"{label}: no training image has a label", [])
    others = [other for other in range(info.num_factors) if other != factor]
    odd = sum((_oddness(dataset, other, train) for other in others), np.zeros(len(train)))
    column = dataset.values[train, factor]
    if info.factor_sizes[factor]:
        indices = dataset.factors[train, factor]
        occurring = np.unique(indices)
        chosen = occurring[_spread(len(occurring))]
        groups = [np.flatnonzero(indices == index) for index in chosen]
        each = [len(part) for part in np.array_split(np.arange(_CELLS), len(groups))]
        steps = [physical(dataset, factor, int(index)) for index in chosen]
        label += f": {', '.join(steps)}"
    else:
        groups = np.array_split(column.argsort(kind="stable"), min(_CELLS, len(train)))
        each = [1] * len(groups)
        low, high = column.min(), column.max()
        label += f": by quantiles, {low:.4g} ... {np.median(column):.4g} ... {high:.4g}"
    if unknown := missing(dataset)[factor]:
        label += f"; {unknown:,} without a label"
    typical = [
        group[odd[group].argsort(kind="stable")[:count]]
        for group, count in zip(groups, each, strict=True)
    ]
    return _Row(label, _drawn(dataset.images[train[np.concatenate(typical)]]))


def _oddness(dataset: Dataset, factor: int, rows: np.ndarray) -> np.ndarray:
    """How far each row's value is from the typical one, squared: [n]; 1 if it is unknown.

    In standard deviations from the median; of categories, 1 unless it is the most common one.
    """
    column = dataset.values[rows, factor].astype(np.float64)
    known = column[np.isfinite(column)]
    if not len(known):
        return np.ones(len(rows))
    if kind(dataset.info, factor) == "categorical":
        values, counts = np.unique(known, return_counts=True)
        return (column != values[counts.argmax()]).astype(float)
    return np.nan_to_num(np.square((column - np.median(known)) / (known.std() or 1)), nan=1.0)


# Words


def _text(axes: Axes, lines: list[str], colour: str = "black") -> None:
    axes.axis("off")
    axes.text(
        0, 1, "\n".join(lines), family="monospace", fontsize=9, va="top", color=colour,
        parse_math=False,
    )  # fmt: skip


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(shortened(text, 2000), width, subsequent_indent="  ")


def _warnings(dataset: Dataset) -> _Band:
    found = warnings_about(dataset)
    if not found:
        return _Band(0.0, lambda axes: None)
    lines = ["What may hurt:"]
    for warning in found[:_MOST_WARNINGS]:
        lines += _wrapped(f"- {warning}", int((_WIDTH - 2 * _MARGIN) / _CHARACTER))
    if len(found) > _MOST_WARNINGS:
        lines.append(f"- and {len(found) - _MOST_WARNINGS} more: see cdis data show")
    height = _LINE * len(lines) + 0.1

    def draw(axes: _MakeAxes) -> None:
        _text(axes(_MARGIN, 0, _WIDTH - 2 * _MARGIN, height), lines, "firebrick")

    return _Band(height, draw)


def _tables(dataset: Dataset) -> _Band:
    """Facts on the left; graph, transitions or histograms on the right."""
    gap = 0.2
    info, width = dataset.info, int((_LEFT_TABLES - _MARGIN) / _CHARACTER)
    height, across, channels = info.image_shape
    lines = [part for line in factor_table(dataset) for part in _wrapped_row(line, width)]
    lines += ["", *split_table(dataset)]
    lines += ["", f"{height} x {across} x {channels} pixels, uint8", ""]
    for text in (info.description, f"Licence: {info.licence}", info.citation):
        lines += _wrapped(text, width)

    right = _WIDTH - _LEFT_TABLES - 2 * _MARGIN
    parts: list[tuple[float, Callable[[Axes], None]]] = []
    if info.graph is not None:
        parts.append((0.3 + 0.75 * len(_layers(info)), lambda axes: _graph(axes, info)))
    if all(info.factor_sizes):
        table = _transition_table(dataset)
        parts.append((_LINE * len(table), lambda axes: _text(axes, table)))
    continuous = [f for f, size in enumerate(info.factor_sizes) if not size][:_MOST_FACTORS]
    columns = 2 if len(continuous) <= 8 else 4

    def draw(axes: _MakeAxes) -> None:
        left, down = _LEFT_TABLES + _MARGIN, gap
        _text(axes(_MARGIN, down, _LEFT_TABLES - _MARGIN, 1), lines)
        for high, part in parts:
            part(axes(left, down, right, high))
            down += high + gap
        for place, factor in enumerate(continuous):
            row, column = divmod(place, columns)
            where = (left + column * right / columns, down + row * _HISTOGRAM + _TITLE)
            _histogram(axes(*where, right / columns - 0.15, 0.6), dataset, factor)

    heights = sum(high + gap for high, _ in parts) + _HISTOGRAM * -(-len(continuous) // columns)
    return _Band(max(_LINE * len(lines), heights) + 2 * gap, draw)


def _transition_table(dataset: Dataset) -> list[str]:
    info, labelled = dataset.info, {}
    names = tuple(named(info, factor) for factor in range(info.num_factors))
    info = dataclasses.replace(info, factor_names=names, unordered=())
    for split, index in dataset.splits.items():
        labelled[split] = dataset.fully_labelled(index)
    return transitions.count_table(dataclasses.replace(dataset, info=info, splits=labelled))


def _wrapped_row(line: str, width: int) -> list[str]:
    """A row of the table of factors; what follows the first columns goes on below itself."""
    return textwrap.wrap(line, width, subsequent_indent=" " * VALUES_AT)


def _histogram(axes: Axes, dataset: Dataset, factor: int) -> None:
    # In full precision, or NumPy finds no room for so many bins in a narrow range.
    column = dataset.values[:, factor].astype(np.float64)
    axes.hist(column[np.isfinite(column)], bins=60, color="0.4", histtype="stepfilled")
    axes.set_title(named(dataset.info, factor), loc="left", fontsize=8, pad=2, parse_math=False)
    axes.set_yticks([])
    axes.tick_params(labelsize=8)


# The causal graph


def _layers(info: Info) -> list[list[int]]:
    """Factors by the number of edges on the longest path to each, causes before effects.

    A layer with more factors than fit side by side is cut into several.
    """
    graph = np.array(info.graph, bool)
    depth = np.zeros(len(graph), int)
    for factor in topological_order(graph):
        depth[factor] = depth[graph[factor]].max(initial=-1) + 1
    layers = [np.flatnonzero(depth == level) for level in range(depth.max() + 1)]
    cut = [np.array_split(layer, -(-len(layer) // _MOST_NODES)) for layer in layers]
    return [part.tolist() for parts in cut for part in parts]


def _graph(axes: Axes, info: Info) -> None:
    """Nodes in layers, effects below their causes, and an arrow for each edge."""
    layers, graph = _layers(info), np.array(info.graph, bool)
    place: dict[int, tuple[float, float]] = {}
    for level, layer in enumerate(layers):
        # Below the middle of its causes, as far as its neighbours allow.
        causes = {f: np.flatnonzero(graph[f]).tolist() for f in layer}
        wish = {f: np.mean([place[c][0] for c in causes[f]] or [0.5]) for f in layer}
        for order, factor in enumerate(sorted(layer, key=lambda f: (wish[f], f))):
            place[factor] = ((order + 0.5) / len(layer), -level)
    axes.set_xlim(0, 1)
    axes.set_ylim(0.5 - len(layers), 0.5)
    axes.axis("off")
    widest = max(map(len, layers))
    size = 9 if widest <= 4 else 7
    nodes = {
        factor: axes.text(
            x, y, shortened(info.factor_names[factor], max(6, 72 // widest)),
            ha="center", va="center", fontsize=size, parse_math=False, zorder=2,
            bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": "0.4"},
        )
        for factor, (x, y) in place.items()
    }  # fmt: skip
    renderer = FigureCanvasAgg(axes.get_figure(root=True)).get_renderer()
    for node in nodes.values():
        # Known only once a node is drawn; but arrows, which end there, are drawn below nodes.
        node.update_bbox_position_size(renderer)
    for effect, cause in np.argwhere(graph).tolist():
        far = abs(place[effect][1] - place[cause][1]) > 1
        arrow = {
            "arrowstyle": "->",
            "color": "0.4",
            "shrinkA": 0,
            "shrinkB": 1,
            "patchA": nodes[cause].get_bbox_patch(),
            "patchB": nodes[effect].get_bbox_patch(),
            # Around the layers between.
            "connectionstyle": f"arc3,rad={0.4 if far else 0}",
        }
        axes.annotate("", place[effect], place[cause], arrowprops=arrow, zorder=1)
