"""Structure: the causal graph of the factors that the method learnt, against the true one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

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
from cdis.metrics.graphs import structural_hamming_distance

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _applies(subject: Subject) -> bool:
    return subject.method.factors.structure is not None


def _measure(subject: Subject) -> Measured:
    if reason := subject.too_few_labels:
        return Measured({"structure": {"reason": reason}})
    index = sample(subject.labelled, MAX_IMAGES)
    found = subject.trained.structure(subject.dataset.values[index])
    strength = np.asarray(found.edge_strength, np.float32)
    adjacency = np.asarray(found.adjacency, int)
    scores: dict[str, Any] = {
        "edge_strength": strength.tolist(),
        "adjacency": adjacency.tolist(),
        "split": "test",
        "num_images": len(index),
    }
    line = f"structure: {adjacency.sum()} edges"
    if subject.info.graph is not None:
        distance = structural_hamming_distance(adjacency, np.array(subject.info.graph))
        scores["shd"] = distance["distance"]
        scores["extra"], scores["missing"] = distance["extra"], distance["missing"]
        line += f", SHD {scores['shd']} to the true graph"
    subject.progress(line)
    return Measured({"structure": scores}, {"edge_strength": strength})


def _headlines(metrics: Metrics) -> list[Headline]:
    scores = metrics["structure"]
    if "shd" not in scores:
        return []
    note = f"edges: {scores['extra']} extra, {scores['missing']} missing"
    return [Headline("SHD to the true graph", f"{scores['shd']}", note)]


def _figures(info: Info, metrics: Metrics, arrays: Arrays) -> list[Picture]:
    caption = (
        "How strongly each factor (column) moves each other factor (row) in the learnt model: the "
        "root mean square of the derivative of its mechanism. A cell without a number has no edge."
    )
    if info.graph is not None:
        caption += " Frames mark the edges of the true graph."
    figure = _plot(info, arrays["edge_strength"])
    return [Picture("edge_strength", "Edge strengths", caption, figure)]


def _plot(info: Info, strength: Float[np.ndarray, "f f"]) -> Figure:
    """Row i holds the factors that move factor i; frames mark the edges of the true graph."""
    from matplotlib.patches import Rectangle

    size = 0.7 * info.num_factors
    figure = figures.new_figure(size + 3.4, size + 2.0)
    axes = figure.add_subplot()
    limit = max(float(strength.max()), 1e-3)
    picture = axes.imshow(strength, cmap="Blues", vmin=0, vmax=limit)
    names = list(info.factor_names)
    figures.name_axes(axes, names, names)
    axes.set_xlabel("from")
    axes.set_ylabel("into")
    figures.write_cells(axes, strength, strength > 0, limit=limit)
    for i, j in np.argwhere(np.array(info.graph)) if info.graph is not None else ():
        frame = Rectangle((j - 0.47, i - 0.47), 0.94, 0.94, fill=False, ec=figures.ORANGE, lw=2)
        axes.add_patch(frame)
    figure.colorbar(picture, ax=axes, shrink=0.8, label="edge strength")
    return figure


MEASUREMENT = Measurement("structure", _applies, _measure, headlines=_headlines, figures=_figures)
