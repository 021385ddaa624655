"""Pictures of what a method does with discrete actions, and of the graph that they change."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cdis.data.info import Info
from cdis.report.figures import GREY, LINE, MANY, ORANGE, RED, arrow, image_grid, new_figure, show


def interventions(info: Info, arrays: dict[str, np.ndarray]) -> Figure:
    """Rows are held-out images, columns the image itself and the outcome of every action."""
    images, results = arrays["intervention_images"], arrays["intervention_results"]
    valid = arrays["intervention_valid"]
    columns = 1 + info.num_actions
    figure = image_grid(len(images), columns)
    for row in range(len(images)):
        for column in range(columns):
            axes = figure.add_subplot(len(images), columns, row * columns + column + 1)
            if column == 0:
                show(axes, images[row], edge=ORANGE)
            elif valid[row, column - 1]:
                right = arrays["intervention_right"][row, column - 1]
                show(axes, results[row, column - 1], edge=LINE if right else RED)
            else:
                show(axes, np.full_like(images[row], 235))
                axes.text(
                    0.5, 0.5, "at the end\nof its range", ha="center", va="center", fontsize=8,
                    color=GREY, transform=axes.transAxes,
                )  # fmt: skip
            if row == 0:
                title = "image" if column == 0 else arrow(info.action_names[column - 1])
                axes.set_title(title, fontsize=11)
    return figure


def confusion(info: Info, scores: dict[str, Any]) -> Figure:
    """Rows sum to one; counts beside them."""
    counts = np.array(scores["confusion"])
    total = counts.sum(1, keepdims=True)
    share = counts / np.maximum(total, 1)
    names = [arrow(name) for name in info.action_names]
    size = 0.62 * len(names)
    figure = new_figure(size + 2.6, size + 1.6)
    axes = figure.add_subplot()
    picture = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    labels = [f"{name}  ({n})" for name, n in zip(names, total[:, 0], strict=True)]
    axes.set_yticks(range(len(names)), labels)
    axes.set_xlabel("action retrieved")
    axes.set_ylabel("true action (number of pairs)")
    axes.set_title(
        f"directed {scores['directed']:.3f}, undirected {scores['undirected']:.3f}; "
        f"chance {scores['chance_directed']:.2f}, {scores['chance_undirected']:.2f}",
        fontsize=11,
    )
    for i, j in zip(*np.nonzero(counts), strict=True):
        text = f"{share[i, j]:.2f}".replace("0.", ".") if share[i, j] < 0.995 else "1"
        colour = "white" if share[i, j] > 0.55 else "#24292f"
        axes.text(j, i, text, ha="center", va="center", fontsize=9, color=colour)
    half = info.num_factors - 0.5
    axes.axhline(half, color=GREY, lw=0.8)
    axes.axvline(half, color=GREY, lw=0.8)
    figure.colorbar(picture, ax=axes, shrink=0.7, label="share of the row")
    return figure


def masks(info: Info, mask: np.ndarray) -> Figure:
    figure = new_figure(_map_width(mask.shape[1]), 0.36 * len(mask) + 1.2)
    _heat(
        figure.add_subplot(), mask, [arrow(name) for name in info.action_names], "node",
        "how often the action hits the node",
    )  # fmt: skip
    return figure


def node_factor(info: Info, information: np.ndarray) -> Figure:
    figure = new_figure(_map_width(len(information)), 0.42 * info.num_factors + 1.2)
    _heat(
        figure.add_subplot(), information.T, list(info.factor_names), "node",
        "mutual information\n(share of the factor's entropy)",
    )  # fmt: skip
    return figure


def edges(info: Info, edges: np.ndarray, without: np.ndarray) -> Figure:
    """The mean graph without an action, and what every action adds to and takes from it."""
    across, nodes = info.num_factors + 1, len(without)
    figure = Figure(figsize=(2.1 * across, 4.4))
    grid = figure.add_gridspec(2, across, wspace=0.22, hspace=0.3)
    change = edges - without
    limit = max(float(np.abs(change).max()), 1e-3)
    ticks = sorted({0, nodes // 2, nodes - 1})

    def draw(cell: Any, title: str, matrix: np.ndarray, **colours: Any) -> tuple[Axes, Any]:
        axes = figure.add_subplot(cell)
        picture = axes.imshow(matrix, interpolation="nearest", **colours)
        axes.set_title(title, fontsize=11)
        axes.set_xticks(ticks)
        axes.set_yticks(ticks)
        axes.tick_params(labelsize=8)
        return axes, picture

    first, present = draw(grid[0, 0], "no action", without, cmap="Blues", vmin=0, vmax=1)
    first.set_xlabel("from node", fontsize=9)
    first.set_ylabel("into node", fontsize=9)
    for action, name in enumerate(info.action_names):
        cell = grid[action // info.num_factors, 1 + action % info.num_factors]
        _, moved = draw(cell, arrow(name), change[action], cmap="RdBu_r", vmin=-limit, vmax=limit)

    scales = figure.add_subplot(grid[1, 0])
    scales.set_axis_off()
    for height, picture, label in ((0.6, present, "probability"), (0.1, moved, "change by action")):
        place = scales.inset_axes((0.0, height, 1.0, 0.1))
        figure.colorbar(picture, cax=place, orientation="horizontal")
        place.set_title(label, fontsize=9)
        place.tick_params(labelsize=8)
    return figure


def _map_width(columns: int) -> float:
    return min(max(0.42 * columns, 5.0), 14.0) + 2.5


def _heat(axes: Axes, values: np.ndarray, rows: list[str], columns: str, label: str) -> None:
    picture = axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel(columns)
    if values.shape[1] <= MANY:
        axes.set_xticks(range(values.shape[1]))
        for i, j in zip(*np.nonzero(values >= 0.05), strict=True):
            text = f"{values[i, j]:.1f}".replace("0.", ".")
            colour = "white" if values[i, j] > 0.55 else "#24292f"
            axes.text(j, i, text, ha="center", va="center", fontsize=8, color=colour)
    axes.figure.colorbar(picture, ax=axes, label=label)
