"""Action retrieval: which action leads from one test image to another?"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from cdis.chunks import in_chunks
from cdis.data import transitions
from cdis.data.info import Info
from cdis.measure import figures
from cdis.measure.base import (
    Arrays,
    Column,
    Headline,
    Measured,
    Measurement,
    Metrics,
    Picture,
    Subject,
    Tables,
    interval,
)
from cdis.measure.sampling import sample
from cdis.metrics.retrieval import action_retrieval
from cdis.trained import BATCH

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: A larger test split is sampled. The small data sets have fewer pairs.
MAX_PAIRS = 20_000


def _applies(subject: Subject) -> bool:
    return subject.method.actions.retrieve is not None and subject.has_steps


def _measure(subject: Subject) -> Measured:
    dataset, info = subject.dataset, subject.info
    pairs = transitions.build(dataset.factors, info, subject.labelled)
    if not len(pairs.action):
        reason = "No two labelled test images are one step of one factor apart."
        return Measured({"action_retrieval": {"reason": reason}})
    chosen = sample(np.arange(len(pairs.action)), MAX_PAIRS)
    x, y, action = pairs.x[chosen], pairs.y[chosen], pairs.action[chosen]

    def retrieve(rows: np.ndarray) -> np.ndarray:
        return subject.trained.retrieve(dataset.images[x[rows]], dataset.images[y[rows]])

    # The first calls compile; `cdis retrieve` finds the kept program for a single pair.
    one_pair = np.zeros(1, int)
    for rows in (np.zeros(BATCH, int), one_pair):
        retrieve(rows)
    start = time.perf_counter()
    retrieve(one_pair)
    latency = time.perf_counter() - start
    start = time.perf_counter()
    probabilities = in_chunks(retrieve, len(x), size=BATCH)
    timing = {
        "retrieval_pairs_per_second": len(x) / (time.perf_counter() - start),
        "retrieval_seconds_for_one_pair": latency,
    }
    scores = action_retrieval(probabilities, action, info.num_factors)
    for name in ("per_action", "per_action_undirected", "per_action_count"):
        scores[name] = dict(zip(info.action_names, scores[name], strict=True))
    scores |= {"split": "test", "num_pairs_in_split": len(pairs.action)}
    subject.progress(
        f"retrieval: {len(x)} test pairs, accuracy {scores['directed']:.3f} directed "
        f"{interval(scores, 'directed')}, {scores['undirected']:.3f} undirected, "
        f"{timing['retrieval_pairs_per_second']:.0f} pairs/s"
    )
    return Measured({"action_retrieval": scores, "timing": timing})


def _headlines(metrics: Metrics) -> list[Headline]:
    scores = metrics["action_retrieval"]
    accuracies = [
        Headline(
            f"action retrieval, {kind}",
            f"{scores[kind]:.3f}",
            f"{interval(scores, kind)}, {scores['num_pairs']:,} pairs, "
            f"chance {scores[f'chance_{kind}']:.2f}",
        )
        for kind in ("directed", "undirected")
    ]
    rate = metrics["timing"]["retrieval_pairs_per_second"]
    return [*accuracies, Headline("pairs retrieved per second", f"{rate:,.0f}")]


def _figures(info: Info, metrics: Metrics, arrays: Arrays) -> list[Picture]:
    caption = (
        "Which action leads from one held-out image to another? Rows are true actions and sum to 1."
    )
    figure = _plot_confusion(info, metrics["action_retrieval"])
    return [Picture("confusion", "Action retrieval", caption, figure)]


def _tables(info: Info, metrics: Metrics) -> Tables:
    scores = metrics["action_retrieval"]
    return Tables(
        by_action=(
            Column("pairs", scores["per_action_count"], "d"),
            Column("retrieved, directed", scores["per_action"]),
            Column("retrieved, undirected", scores["per_action_undirected"]),
        )
    )


def _plot_confusion(info: Info, scores: dict[str, Any]) -> Figure:
    """Rows sum to 1, with the number of pairs beside them."""
    counts = np.array(scores["confusion"])
    total = counts.sum(1, keepdims=True)
    share = counts / np.maximum(total, 1)
    names = figures.action_labels(info)
    size = 0.62 * len(names)
    figure = figures.new_figure(size + 2.6, size + 1.6)
    axes = figure.add_subplot()
    picture = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    with_counts = [f"{name}  ({n})" for name, n in zip(names, total[:, 0], strict=True)]
    figures.name_axes(axes, names, with_counts)
    axes.set_xlabel("action retrieved")
    axes.set_ylabel("true action (number of pairs)")
    axes.set_title(
        f"directed {scores['directed']:.3f}, undirected {scores['undirected']:.3f}; "
        f"chance {scores['chance_directed']:.2f}, {scores['chance_undirected']:.2f}",
        fontsize=11,
    )
    figures.write_cells(axes, share, counts > 0)
    half = info.num_factors - 0.5
    axes.axhline(half, color=figures.GREY, lw=0.8)
    axes.axvline(half, color=figures.GREY, lw=0.8)
    figure.colorbar(picture, ax=axes, shrink=0.7, label="share of the row")
    return figure


MEASUREMENT = Measurement(
    "action_retrieval",
    _applies,
    _measure,
    headlines=_headlines,
    figures=_figures,
    tables=_tables,
)
