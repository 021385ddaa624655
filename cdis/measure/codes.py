"""Codes: how many codes of each codebook are used on test images?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cdis.data.info import Info
from cdis.measure import figures
from cdis.measure.base import (
    Arrays,
    Headline,
    Measured,
    Measurement,
    Metrics,
    Picture,
    Subject,
)
from cdis.measure.sampling import MAX_IMAGES, sample
from cdis.metrics.codes import code_usage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _applies(subject: Subject) -> bool:
    return subject.method.encode is not None and subject.method.codes is not None


def _measure(subject: Subject) -> Measured:
    assert subject.method.codes is not None
    num_codes, num_codebooks = subject.method.codes
    codes = subject.encode(sample(subject.test, MAX_IMAGES))["codes"]
    usage = code_usage(codes, num_codes, num_codebooks)
    usage |= {"num_codes": num_codes, "num_nodes": codes.shape[1], "split": "test"}
    subject.progress(
        f"codes: perplexity {usage['perplexity']:.2f} of {num_codes} ({usage['used']:.2f} in use)"
    )
    return Measured({"codes": usage})


def _headlines(metrics: Metrics) -> list[Headline]:
    usage = metrics["codes"]
    note = f"perplexity {usage['perplexity']:.2f} of {usage['num_codes']} codes"
    return [Headline("share of codes in use", f"{usage['used']:.3f}", note)]


def _figures(info: Info, metrics: Metrics, arrays: Arrays) -> list[Picture]:
    caption = "How many codes of each codebook are used on held-out images."
    return [Picture("codes", "Code usage", caption, _plot(metrics["codes"]))]


def _plot(codes: dict[str, Any]) -> Figure:
    figure = figures.new_figure(9, 3.4)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _plot_perplexity(left, np.array(codes["per_codebook"]), codes["num_codes"])
    _plot_usage(right, np.array(codes["usage"]))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _plot_perplexity(axes: Axes, perplexity: np.ndarray, num_codes: int) -> None:
    books = np.arange(len(perplexity))
    axes.bar(books, perplexity, color=figures.BLUE, width=0.75)
    axes.axhline(num_codes, color=figures.GREY, lw=1, ls="--")
    axes.text(
        0.99, num_codes, f"all {num_codes} codes equally often ", ha="right", va="bottom",
        transform=axes.get_yaxis_transform(), fontsize=8, color=figures.GREY,
    )  # fmt: skip
    axes.set_ylim(0, num_codes * 1.12)
    axes.set_xlabel("codebook")
    axes.set_ylabel("perplexity")
    if len(books) <= figures.MANY:
        axes.set_xticks(books)


def _plot_usage(axes: Axes, usage: np.ndarray) -> None:
    """A line for each codebook, its codes sorted by how often they are used."""
    most_used_first = -np.sort(-usage, axis=1)
    num_codes = usage.shape[1]
    ranks = np.arange(1, num_codes + 1)
    for row in most_used_first:
        axes.plot(ranks, row, color=figures.BLUE, lw=0.8, alpha=0.35)
    mean = most_used_first.mean(0)
    axes.plot(ranks, mean, color=figures.BLUE, lw=2.2, label="mean of codebooks")
    axes.axhline(1 / num_codes, color=figures.GREY, lw=1, ls="--", label="equal use")
    axes.set_ylim(0)
    axes.set_xlabel("codes of a codebook, most used first")
    axes.set_ylabel("share of nodes")
    axes.legend(fontsize=8, frameon=False)


MEASUREMENT = Measurement("codes", _applies, _measure, headlines=_headlines, figures=_figures)
