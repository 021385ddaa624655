"""The course of training, from a workdir's log."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from cdis.measure import figures
from cdis.measure.base import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NOT_PLOTTED = {"step", "stage", "time", "steps_per_second", "gradient_norm", "labelled"}
#: Points (step, value) by kind ("" or "validation") and stage: a line ends with its stage.
Curves = dict[tuple[str, str], list[tuple[int, float]]]


def pictures(lines: list[dict[str, Any]]) -> list[Picture]:
    """The logged quantities over training; none without a log."""
    if not lines:
        return []
    caption = (
        "Means between two lines of the log. Validation is orange; dotted lines separate stages."
    )
    return [Picture("losses", "Training", caption, _plot(lines))]


def _plot(lines: list[dict[str, Any]]) -> Figure:
    """One panel for each quantity, the loss first."""
    curves = curves_of(lines)
    names = sorted(curves, key=lambda name: name != "loss")
    ends = [first["step"] for first, second in pairwise(lines) if first["stage"] != second["stage"]]
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = figures.new_figure(4.2 * columns, 2.6 * rows)
    for place, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, place + 1)
        _plot_curves(axes, curves[name])
        for end in ends:
            axes.axvline(end, color=figures.GREY, lw=0.8, ls=":")
        axes.set_title(name, fontsize=10, loc="left")
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25, lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        if place >= len(names) - columns:
            axes.set_xlabel("step", fontsize=9)
    return figure


def curves_of(lines: list[dict[str, Any]]) -> dict[str, Curves]:
    """The curves of each quantity."""
    curves: dict[str, Curves] = {}
    for line in lines:
        for name, value in line.items():
            kind, _, quantity = name.rpartition("/")
            if quantity not in _NOT_PLOTTED and isinstance(value, int | float):
                points = curves.setdefault(quantity, {}).setdefault((kind, line["stage"]), [])
                points.append((line["step"], value))
    return curves


def _plot_curves(axes: Axes, curves: Curves) -> None:
    labelled: set[str] = set()
    for (kind, _), points in curves.items():
        steps, values = zip(*points, strict=True)
        label = None if kind in labelled else kind or "training"
        labelled.add(kind)
        marker = "." if kind or len(steps) < 3 else None
        colour = figures.ORANGE if kind else figures.BLUE
        axes.plot(steps, values, color=colour, lw=1.4, label=label, marker=marker)
    if len(labelled) > 1:
        axes.legend(fontsize=8, frameon=False)
