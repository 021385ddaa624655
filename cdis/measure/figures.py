"""Building blocks for figures. Matplotlib is imported when the first figure is made."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from cdis.data.info import Info

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, RED, GREY, LINE = "#2f6db5", "#d9772b", "#c8352b", "#8a8f98", "#c8ccd2"
#: Pixels per inch of a PNG.
DPI = 130
#: Heat maps and bar charts with more nodes or codes do not label each one.
MANY = 32
_DARK = "#24292f"


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white", bbox_inches="tight")
    return buffer.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """An empty figure with automatic layout; sizes in inches."""
    return _figure(width, height, layout="constrained")


def fixed_figure(width: float, height: float) -> Figure:
    """An empty figure to lay out by hand, which is much faster for many axes; sizes in inches."""
    return _figure(width, height)


def image_grid(rows: int, columns: int, image_shape: tuple[int, ...]) -> Figure:
    """An empty figure for many small images of a shape (height, width, channels)."""
    height, width, _ = image_shape
    figure = fixed_figure(1.15 * columns, 1.15 * rows * height / width)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1, wspace=0.08, hspace=0.08)
    return figure


def image_rows(rows: Mapping[str, UInt8[np.ndarray, "n h w c"]]) -> Figure:
    """Rows of equally many images, each with its name beside it."""
    first = next(iter(rows.values()))
    count = len(first)
    figure = image_grid(len(rows), count, first.shape[1:])
    for row, (name, images) in enumerate(rows.items()):
        for column, image in enumerate(images):
            axes = figure.add_subplot(len(rows), count, row * count + column + 1)
            show(axes, image)
            if column == 0:
                axes.set_ylabel(name, fontsize=11)
    return figure


def show(axes: Axes, image: UInt8[np.ndarray, "h w c"], edge: str = LINE) -> None:
    """Show an image without ticks, in a frame of the colour `edge`."""
    grey = image.shape[-1] == 1
    axes.imshow(
        image[..., 0] if grey else image, cmap="gray", vmin=0, vmax=255, interpolation="nearest"
    )
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(edge)
        spine.set_linewidth(0.8 if edge == LINE else 2.0)


def action_label(action_name: str) -> str:
    """ "hue-1" as a label: "hue −1", with a true minus sign."""
    return f"{action_name[:-2]} {action_name[-2:]}".replace("-1", "\u22121")


def action_labels(info: Info) -> list[str]:
    """Labels of all actions, in order."""
    return [action_label(name) for name in info.action_names]


def heat_map(
    axes: Axes, values: Float[np.ndarray, "rows columns"], rows: list[str], columns: str, label: str
) -> None:
    """Show a matrix of values in [0, 1], with a name for each row and one for all columns."""
    picture = axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel(columns)
    if values.shape[1] <= MANY:
        axes.set_xticks(range(values.shape[1]))
        write_cells(axes, values, values >= 0.05, digits=1, fontsize=8)
    axes.figure.colorbar(picture, ax=axes, label=label)


def heat_map_figure(values: Float[np.ndarray, "rows columns"], row_height: float) -> Figure:
    """An empty figure of a suitable size for `heat_map`; `row_height` in inches."""
    width = min(max(0.42 * values.shape[1], 5.0), 14.0) + 2.5
    return new_figure(width, row_height * len(values) + 1.2)


def write_cells(
    axes: Axes,
    values: Float[np.ndarray, "rows columns"],
    where: Bool[np.ndarray, "rows columns"],
    *,
    digits: int = 2,
    limit: float = 1.0,
    fontsize: int = 9,
) -> None:
    """Write values into the chosen cells of an image of a matrix, whose darkest cell is `limit`.

    Short forms: ".25" for 0.25 and "1" for 1.
    """
    for i, j in zip(*np.nonzero(where), strict=True):
        text = f"{values[i, j]:.{digits}f}".removeprefix("0")
        text = "1" if float(text) == 1 else text
        colour = "white" if values[i, j] > 0.55 * limit else _DARK
        axes.text(j, i, text, ha="center", va="center", fontsize=fontsize, color=colour)


def name_axes(axes: Axes, columns: list[str], rows: list[str]) -> None:
    """Name each column and row of an image of a matrix."""
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)


def _figure(width: float, height: float, **options: Any) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), **options)
