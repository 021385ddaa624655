"""What all pictures are drawn with, and the pictures of any method."""

from io import BytesIO
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, ORANGE, RED, GREY, LINE = "#2f6db5", "#d9772b", "#c8352b", "#8a8f98", "#c8ccd2"
_DPI = 130
#: Beyond so many nodes or codes a heat map no longer names each.
MANY = 32


def png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, facecolor="white", bbox_inches="tight")
    return buffer.getvalue()


def new_figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def image_grid(rows: int, columns: int) -> Figure:
    """A figure for many small images; laid out by hand, which is far faster than constrained."""
    figure = Figure(figsize=(1.15 * columns, 1.15 * rows))
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1, wspace=0.08, hspace=0.08)
    return figure


def show(axes: Axes, image: np.ndarray, edge: str = LINE) -> None:
    grey = image.shape[-1] == 1
    axes.imshow(
        image[..., 0] if grey else image, cmap="gray", vmin=0, vmax=255, interpolation="nearest"
    )
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(edge)
        spine.set_linewidth(0.8 if edge == LINE else 2.0)


def arrow(action_name: str) -> str:
    """ "hue+1" as a label: "hue +1", with a true minus sign."""
    return f"{action_name[:-2]} {action_name[-2:]}".replace("-1", "\u22121")


def losses(lines: list[dict[str, Any]]) -> Figure:
    """One panel per logged quantity, validation beside training, stages marked."""
    left_out = {"step", "stage", "time", "steps_per_second", "gradient_norm"}
    # By quantity, then by ("" or "validation") and stage: a line does not lead across stages.
    curves: dict[str, dict[tuple[str, str], list[tuple[int, float]]]] = {}
    for line in lines:
        for name, value in line.items():
            kind, _, base = name.rpartition("/")
            if base not in left_out and isinstance(value, int | float):
                points = curves.setdefault(base, {}).setdefault((kind, line["stage"]), [])
                points.append((line["step"], value))
    names = sorted(curves, key=lambda name: name != "loss")
    ends = [first["step"] for first, second in pairwise(lines) if first["stage"] != second["stage"]]
    across = min(3, len(names))
    down = -(-len(names) // across)
    figure = new_figure(4.2 * across, 2.6 * down)
    for place, name in enumerate(names):
        axes = figure.add_subplot(down, across, place + 1)
        labelled: set[str] = set()
        for (kind, _), points in curves[name].items():
            steps, values = zip(*points, strict=True)
            label = None if kind in labelled else kind or "training"
            labelled.add(kind)
            marker = "." if kind or len(steps) < 3 else None
            colour = ORANGE if kind else BLUE
            axes.plot(steps, values, color=colour, lw=1.4, label=label, marker=marker)
        for end in ends:
            axes.axvline(end, color=GREY, lw=0.8, ls=":")
        axes.set_title(name, fontsize=10, loc="left")
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25, lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        if place >= len(names) - across:
            axes.set_xlabel("step", fontsize=9)
        if len(labelled) > 1:
            axes.legend(fontsize=8, frameon=False)
    return figure


def reconstructions(arrays: dict[str, np.ndarray]) -> Figure:
    rows = (arrays["reconstruction_images"], arrays["reconstruction_decoded"])
    count = len(rows[0])
    figure = image_grid(2, count)
    for row, (name, images) in enumerate(zip(("image", "decoded"), rows, strict=True)):
        for column, image in enumerate(images):
            axes = figure.add_subplot(2, count, row * count + column + 1)
            show(axes, image)
            if column == 0:
                axes.set_ylabel(name, fontsize=11)
    return figure


def code_usage(codes: dict[str, Any]) -> Figure:
    usage = np.array(codes["usage"])
    perplexity = np.array(codes["per_codebook"])
    order = -np.sort(-usage, axis=1)
    figure = new_figure(9, 3.4)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    books = np.arange(len(usage))
    left.bar(books, perplexity, color=BLUE, width=0.75)
    left.axhline(codes["num_codes"], color=GREY, lw=1, ls="--")
    left.text(
        0.99, codes["num_codes"], f"all {codes['num_codes']} codes equally often ",
        transform=left.get_yaxis_transform(), ha="right", va="bottom", fontsize=8, color=GREY,
    )  # fmt: skip
    left.set_ylim(0, codes["num_codes"] * 1.12)
    left.set_xlabel("codebook")
    left.set_ylabel("perplexity")
    if len(books) <= MANY:
        left.set_xticks(books)
    ranks = np.arange(1, usage.shape[1] + 1)
    for row in order:
        right.plot(ranks, row, color=BLUE, lw=0.8, alpha=0.35)
    right.plot(ranks, order.mean(0), color=BLUE, lw=2.2, label="mean of codebooks")
    right.axhline(1 / usage.shape[1], color=GREY, lw=1, ls="--", label="equal use")
    right.set_ylim(0)
    right.set_xlabel("codes of a codebook, most used first")
    right.set_ylabel("share of nodes")
    right.legend(fontsize=8, frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure
