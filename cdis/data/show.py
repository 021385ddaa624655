"""A sheet that shows what a data set is: samples, traversals, tables and counts."""

import os
import textwrap
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cdis import data
from cdis.data import transitions
from cdis.data.info import Dataset
from cdis.errors import UserError

_SAMPLE_ROWS, _SAMPLE_COLUMNS = 5, 20
_MOST_STEPS = 20
_GAP = 2


def write_sheet(name: str, data_dir: str | None, path: str) -> None:
    """Writes a PNG sheet about a data set, preparing the data set if need be.

    It holds a grid of samples, a row per factor in which that factor alone runs through its
    values, the factors with their sizes, the size of each split, the number of transitions of each
    action in each split, and the licence.

    Raises:
      UserError: an unknown or damaged data set, or a path that cannot be written to.
    """
    figure = _sheet(data.load(name, data_dir))
    # Written beside and renamed: an old sheet is never left half overwritten.
    draft = Path(f"{path}.incomplete")
    try:
        figure.savefig(draft, dpi=100, format="png")
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise UserError(
            f"The sheet could not be written to {path}: {error}. Choose a file in a folder that "
            "exists and may be written to."
        ) from error


def _sheet(dataset: Dataset) -> Figure:
    info = dataset.info
    heights = (3.4, 0.85 * info.num_factors, 1.6 + 0.24 * info.num_actions)
    figure = Figure(figsize=(12, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{info.name}: {len(dataset.images):,} images", fontsize=16)
    samples, traversals, tables = figure.subfigures(3, 1, squeeze=False, height_ratios=heights)[
        :, 0
    ]

    count = _SAMPLE_ROWS * _SAMPLE_COLUMNS
    drawn = np.random.default_rng(0).choice(len(dataset.images), count)
    rows = np.split(dataset.images[drawn], _SAMPLE_ROWS)
    picture = np.concatenate([_side_by_side(list(row)) for row in rows])
    _picture(samples.subplots(), picture, "drawn at random")

    for factor, axes in enumerate(np.ravel(traversals.subplots(info.num_factors, 1))):
        size = info.factor_sizes[factor]
        steps = np.unique(np.linspace(0, size - 1, min(size, _MOST_STEPS)).round().astype(int))
        label = f"{info.factor_names[factor]}: {len(steps)} of {size} values"
        _picture(axes, _traversal(dataset, factor, steps), label)

    left, right = tables.subplots(1, 2, width_ratios=(1, 1.3))
    _facts(left, dataset)
    _counts(right, dataset)
    return figure


def _picture(axes: Axes, picture: np.ndarray, label: str) -> None:
    axes.imshow(picture.repeat(3, axis=-1) if picture.shape[-1] == 1 else picture)
    axes.set_title(label, loc="left", fontsize=9, pad=2)
    axes.set_anchor("W")
    axes.axis("off")


def _side_by_side(images: list[np.ndarray]) -> np.ndarray:
    """Images in one row, each with a grey line to its right and below."""
    border = ((0, _GAP), (0, _GAP), (0, 0))
    return np.concatenate([np.pad(i, border, constant_values=96) for i in images], axis=1)


def _traversal(dataset: Dataset, factor: int, steps: np.ndarray) -> np.ndarray:
    """The images that differ from one in the middle of the grid by this factor alone."""
    wanted = np.array(dataset.info.factor_sizes) // 2
    images = []
    for step in steps:
        wanted[factor] = step
        found = np.flatnonzero((dataset.factors == wanted).all(axis=1))
        missing = np.full(dataset.info.image_shape, 96, np.uint8)
        images.append(dataset.images[found[0]] if len(found) else missing)
    return _side_by_side(images)


def _facts(axes: Axes, dataset: Dataset) -> None:
    info = dataset.info
    lines = [f"{'factor':14}{'values':>7}  circular"]
    for name, size, circular in zip(
        info.factor_names, info.factor_sizes, info.circular, strict=True
    ):
        lines.append(f"{name:14}{size:7}  {'yes' if circular else 'no'}")
    lines += ["", f"{'split':14}{'images':>9}"]
    lines += [f"{name:14}{len(index):9,}" for name, index in dataset.splits.items()]
    height, width, channels = info.image_shape
    lines += ["", f"{height} x {width} x {channels} pixels, uint8", ""]
    for text in (info.description, f"Licence: {info.licence}", info.citation):
        lines += textwrap.wrap(text, 52)
    _text(axes, lines)


def _counts(axes: Axes, dataset: Dataset) -> None:
    info = dataset.info
    columns = {
        split: np.bincount(
            transitions.build(dataset.factors, info, index).action, minlength=info.num_actions
        )
        for split, index in dataset.splits.items()
    }
    lines = [f"{'transitions':16}" + "".join(f"{split:>12}" for split in columns)]
    for action, name in enumerate(info.action_names):
        lines.append(f"{name:16}" + "".join(f"{n[action]:12,}" for n in columns.values()))
    lines.append(f"{'all':16}" + "".join(f"{n.sum():12,}" for n in columns.values()))
    _text(axes, lines)


def _text(axes: Axes, lines: list[str]) -> None:
    axes.axis("off")
    axes.text(0, 1, "\n".join(lines), family="monospace", fontsize=9, va="top", parse_math=False)
