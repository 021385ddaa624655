"""A sheet about a data set: samples, traversals, tables and counts."""

import io
import textwrap
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cdis import data
from cdis.data import transitions
from cdis.data.info import Dataset
from cdis.data.mechanism import Mechanism
from cdis.errors import UserError
from cdis.files import write_bytes

_SAMPLE_ROWS, _SAMPLE_COLUMNS = 5, 20
_MOST_STEPS = 20
_GAP = 2


def write_sheet(name: str, data_dir: str | None, path: str) -> None:
    """Write a PNG sheet about a data set, preparing the data set if need be.

    It shows a grid of samples, a row per factor that traverses its values, the factors with their
    sizes, the size of each split, the number of transitions of each action in each split, and the
    licence. If several images share factors, a row shows transitions of a factor instead, and the
    table adds the frequency of each of its values. If factors are continuous and cause one another,
    a row shows one image under do(factor = value) with the resulting effects; ranges replace sizes,
    and histograms of values replace the table of transitions.

    Raises:
      UserError: the data set is unknown or damaged, or the path is not writable.
    """
    figure = _sheet(data.load(name, data_dir), data.mechanism(name))
    picture = io.BytesIO()
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
    info = dataset.info
    lines = 2 * info.num_factors if mechanism is None else 14
    lines += 8 * info.repeats
    heights = (3.4, 0.85 * info.num_factors, 1.6 + 0.24 * lines)
    figure = Figure(figsize=(12, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{info.name}: {len(dataset.images):,} images", fontsize=16)
    samples, traversals, tables = figure.subfigures(3, 1, squeeze=False, height_ratios=heights)[
        :, 0
    ]

    count = _SAMPLE_ROWS * _SAMPLE_COLUMNS
    sampled = np.random.default_rng(0).choice(len(dataset.images), count)
    rows = np.split(dataset.images[sampled], _SAMPLE_ROWS)
    picture = np.concatenate([_side_by_side(list(row)) for row in rows])
    _picture(samples.subplots(), picture, "random sample")

    pairs = None
    if info.repeats:
        pairs = transitions.build(dataset.factors, info, dataset.splits["train"])
    for factor, axes in enumerate(np.ravel(traversals.subplots(info.num_factors, 1))):
        if pairs is not None:
            _picture(axes, *_transitions(dataset, pairs, factor))
            continue
        if mechanism is not None and mechanism.render is not None:
            _picture(axes, *_interventions(dataset, mechanism, factor))
            continue
        size = info.factor_sizes[factor]
        steps = np.unique(np.linspace(0, size - 1, min(size, _MOST_STEPS)).round().astype(int))
        label = f"{info.factor_names[factor]}: {len(steps)} of {size} values"
        _picture(axes, _traversal(dataset, factor, steps), label)

    if mechanism is None:
        left, right = tables.subplots(1, 2, width_ratios=(1, 1.3))
        _text(right, transitions.count_table(dataset))
    else:
        facts, histograms = tables.subfigures(1, 2, width_ratios=(1, 1.3))
        left = facts.subplots()
        _histograms(histograms.subplots(-(-info.num_factors // 2), 2), dataset)
    _facts(left, dataset)
    return figure


def _picture(axes: Axes, picture: np.ndarray, label: str) -> None:
    axes.imshow(picture.repeat(3, axis=-1) if picture.shape[-1] == 1 else picture)
    axes.set_title(label, loc="left", fontsize=9, pad=2)
    axes.set_anchor("W")
    axes.axis("off")


def _side_by_side(images: list[np.ndarray]) -> np.ndarray:
    """Images in one row, each with a grey line to its right and below it."""
    border = ((0, _GAP), (0, _GAP), (0, 0))
    return np.concatenate([np.pad(i, border, constant_values=96) for i in images], axis=1)


def _traversal(dataset: Dataset, factor: int, steps: np.ndarray) -> np.ndarray:
    """Images that differ only in this factor, starting from one near the middle of the grid."""
    middle = np.array(dataset.info.factor_sizes) // 2
    wanted = dataset.factors[np.abs(dataset.factors - middle).sum(axis=1).argmin()].copy()
    images = []
    for step in steps:
        wanted[factor] = step
        found = np.flatnonzero((dataset.factors == wanted).all(axis=1))
        missing = np.full(dataset.info.image_shape, 96, np.uint8)
        images.append(dataset.images[found[0]] if len(found) else missing)
    return _side_by_side(images)


def _transitions(
    dataset: Dataset, pairs: transitions.Transitions, factor: int
) -> tuple[np.ndarray, str]:
    """A row of pairs of training images between which the factor goes one step up, and its label.

    The images of a pair share all other factors, but may differ in everything else.
    """
    found = np.flatnonzero(pairs.action == factor)
    some = found[np.linspace(0, len(found) - 1, min(len(found), _MOST_STEPS // 2)).astype(int)]
    images = np.full((_MOST_STEPS, *dataset.info.image_shape), 96, np.uint8)
    images[: 2 * len(some) : 2] = dataset.images[pairs.x[some]]
    images[1 : 2 * len(some) : 2] = dataset.images[pairs.y[some]]
    label = f"{dataset.info.action_names[factor]}: {len(some)} of {len(found):,} training pairs"
    return _side_by_side(list(images)), label


def _interventions(dataset: Dataset, mechanism: Mechanism, factor: int) -> tuple[np.ndarray, str]:
    """A row of renderings of one training image under do(factor = value), and its label.

    The image is the one nearest the mean of all values. If something leaves the frame, the cell is
    grey.
    """
    info, values = dataset.info, dataset.values[dataset.splits["train"]]
    low, high = values[:, factor].min(), values[:, factor].max()
    far = (values - values.mean(0)) / values.std(0)
    middle = values[np.square(far).sum(1).argmin()]
    asked = np.linspace(low, high, _MOST_STEPS, dtype=np.float32)
    changed = mechanism.counterfactual(np.tile(middle, (len(asked), 1)), factor, asked)
    assert mechanism.render is not None
    images, inside = (np.asarray(f(changed)) for f in (mechanism.render, mechanism.inside))
    cells = np.where(inside[:, None, None, None], images, np.uint8(96))
    label = f"do({info.factor_names[factor]} = {low:.3g} ... {high:.3g})"
    return _side_by_side(list(cells)), label


def _histograms(grid: np.ndarray, dataset: Dataset) -> None:
    """A histogram of the values of each factor, titled with its parents."""
    info = dataset.info
    for factor, axes in enumerate(grid.flat):
        if factor >= info.num_factors:
            axes.axis("off")
            continue
        row = info.graph[factor] if info.graph else ()
        causes = [name for name, edge in zip(info.factor_names, row, strict=False) if edge]
        title = info.factor_names[factor] + (f"\ncaused by {', '.join(causes)}" if causes else "")
        axes.hist(dataset.values[:, factor], bins=60, color="0.4")
        axes.set_title(title, loc="left", fontsize=8)
        axes.set_yticks([])
        axes.tick_params(labelsize=8)


def _facts(axes: Axes, dataset: Dataset) -> None:
    info = dataset.info
    if all(info.factor_sizes):
        lines = [f"{'factor':16}{'values':>7}  circular  ordered"]
        for name, size, circular in zip(
            info.factor_names, info.factor_sizes, info.circular, strict=True
        ):
            ordered = "no" if name in info.unordered else "yes"
            lines.append(f"{name:16}{size:7}  {'yes' if circular else 'no':8}  {ordered}")
        if info.repeats:
            lines += ["", f"{'factor':22}share of images with each value"]
            for name, size, column in zip(
                info.factor_names, info.factor_sizes, dataset.factors.T, strict=True
            ):
                shares = np.bincount(column, minlength=size) / len(column)
                lines.append(f"{name:22}{'  '.join(f'{share:.3f}' for share in shares)}")
    else:
        lines = [f"{'factor':18}{'from':>9}{'to':>9}{'std':>9}"]
        for name, column in zip(info.factor_names, dataset.values.T, strict=True):
            lines.append(f"{name:18}{column.min():9.3f}{column.max():9.3f}{column.std():9.3f}")
    lines += ["", f"{'split':16}{'images':>9}"]
    lines += [f"{name:16}{len(index):9,}" for name, index in dataset.splits.items()]
    height, width, channels = info.image_shape
    lines += ["", f"{height} x {width} x {channels} pixels, uint8", ""]
    for text in (info.description, f"Licence: {info.licence}", info.citation):
        lines += textwrap.wrap(text, 52)
    _text(axes, lines)


def _text(axes: Axes, lines: list[str]) -> None:
    axes.axis("off")
    axes.text(0, 1, "\n".join(lines), family="monospace", fontsize=9, va="top", parse_math=False)
