"""Action graph: which nodes and edges does each action change, and what does each node encode?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

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
)
from cdis.measure.sampling import MAX_IMAGES, sample
from cdis.metrics.codes import node_factor_information, specialisation
from cdis.metrics.interventions import target_factors
from cdis.ops.actions import factor_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_DESCRIBED = 256  # images; the graph of each action is averaged over them


def _applies(subject: Subject) -> bool:
    return subject.method.actions.describe is not None and subject.has_steps


def _measure(subject: Subject) -> Measured:
    if reason := subject.too_few_labels:
        return Measured({"graph": {"reason": reason}})
    info = subject.info
    chosen = sample(subject.labelled, MAX_DESCRIBED)
    by_action = [_mean_graph(subject, action, chosen) for action in range(info.num_actions)]
    means = {name: np.stack([graph[name] for graph in by_action]) for name in by_action[0]}
    mask = means["mask"]

    def named(values: np.ndarray) -> dict[str, float]:
        return dict(zip(info.action_names, values.tolist(), strict=True))

    scores: dict[str, Any] = {
        "split": "test",
        "num_images": len(chosen),
        "num_nodes": mask.shape[1],
        "mask_nodes_per_action": named(mask.sum(1)),
        "mask_nodes": float(mask.sum(1).mean()),
        "edges_no_action": float(means["edges_no_action"].sum((1, 2)).mean()),
        "edges_that_appear": named(means["appear"]),
        "edges_that_vanish": named(means["vanish"]),
    }
    line = f"graph: an action hits {scores['mask_nodes']:.1f} of {scores['num_nodes']} nodes"
    information = _node_information(subject)
    if information is not None and len(information) == scores["num_nodes"]:
        scores |= _specialisation(info, mask, information)
        if scores["node_specialisation"] is not None:
            line += f", node specialisation {scores['node_specialisation']:.2f}"
    subject.progress(line)
    arrays = {
        "mask": mask.astype(np.float32),
        "edges": means["edges"].astype(np.float32),
        "edges_no_action": means["edges_no_action"].mean(0).astype(np.float32),
    }
    return Measured({"graph": scores}, arrays)


def _mean_graph(
    subject: Subject, action: int, chosen: Int[np.ndarray, " n"]
) -> dict[str, np.ndarray]:
    """The graph of one action, averaged over the images on which the action is possible."""
    dataset, info = subject.dataset, subject.info
    actions = np.full(len(chosen), action, np.int32)
    _, valid = target_factors(dataset.factors[chosen], actions, info.factor_sizes, info.circular)
    index = chosen[valid] if valid.any() else chosen
    graph = subject.trained.describe(dataset.images[index], actions[: len(index)])
    parts = {name: np.asarray(part) for name, part in graph._asdict().items()}
    change = parts["edges"] - parts["edges_no_action"]
    parts["appear"] = change.clip(0).sum((1, 2))
    parts["vanish"] = (-change).clip(0).sum((1, 2))
    return {name: part.mean(0) for name, part in parts.items()}


def _node_information(subject: Subject) -> Float[np.ndarray, "nodes factors"] | None:
    """Information of each node's code about each factor; None for a method without codes.

    Estimated on all splits, because the factors are independent only on their complete grid.
    """
    if subject.method.encode is None or subject.method.codes is None:
        return None
    everything = np.arange(len(subject.dataset.images))
    index = sample(subject.dataset.fully_labelled(everything), MAX_IMAGES)
    return node_factor_information(
        subject.encode(index)["codes"],
        subject.dataset.factors[index],
        subject.method.codes.num_codes,
        subject.info.factor_sizes,
    )


def _specialisation(
    info: Info, mask: Float[np.ndarray, "a n"], information: Float[np.ndarray, "n f"]
) -> dict[str, Any]:
    """Does each node encode one factor, and do actions hit the nodes of their own factor?"""
    special = specialisation(information)
    share = _share_on_own_factor(mask, information)
    return {
        "node_factor_mi": information.tolist(),
        "node_specialisation": special["score"],
        "node_specialisation_per_node": special["per_node"],
        "dead_nodes": special["dead_nodes"],
        "mask_on_own_factor": dict(zip(info.action_names, share, strict=True)),
    }


def _share_on_own_factor(
    mask: Float[np.ndarray, "a n"], information: Float[np.ndarray, "n f"]
) -> list[float | None]:
    """Share of each action's hits on nodes that encode its factor best; None without a hit."""
    factor = factor_of(np.arange(len(mask)), information.shape[1])
    own = (information.argmax(1) == factor[:, None]) & (information.sum(1) > 0)
    return [
        float(hits / all_hits) if all_hits > 0 else None
        for hits, all_hits in zip((mask * own).sum(1), mask.sum(1), strict=True)
    ]


def _headlines(metrics: Metrics) -> list[Headline]:
    scores = metrics["graph"]
    note = f"of {scores['num_nodes']}"
    lines = [Headline("nodes hit by an action", f"{scores['mask_nodes']:.1f}", note)]
    if scores.get("node_specialisation") is not None:
        value, note = f"{scores['node_specialisation']:.2f}", "1: each node encodes one factor"
        lines.append(Headline("node specialisation", value, note))
    return lines


def _figures(info: Info, metrics: Metrics, arrays: Arrays) -> list[Picture]:
    mask = arrays["mask"]
    masks = figures.heat_map_figure(mask, 0.36)
    label = "how often the action hits the node"
    figures.heat_map(masks.add_subplot(), mask, figures.action_labels(info), "node", label)
    pictures = [
        Picture(
            "masks",
            "Nodes that each action hits",
            "Share of held-out images in which the action's mask contains the node.",
            masks,
        ),
        Picture(
            "edges",
            "Edges with and without an action",
            "Mean edge probabilities without an action (blue), then what each action adds (red) "
            "and removes (blue). Row i holds the parents of node i.",
            _plot_edges(info, arrays["edges"], arrays["edges_no_action"]),
        ),
    ]
    if "node_factor_mi" in metrics["graph"]:
        information = np.array(metrics["graph"]["node_factor_mi"])
        pictures.insert(1, _node_factor_picture(info, information))
    return pictures


def _node_factor_picture(info: Info, information: Float[np.ndarray, "n f"]) -> Picture:
    figure = figures.heat_map_figure(information.T, 0.42)
    label = "mutual information\n(share of the factor's entropy)"
    figures.heat_map(figure.add_subplot(), information.T, list(info.factor_names), "node", label)
    caption = (
        "Mutual information of each node's code with each factor, as a share of the factor's "
        "entropy. A node that encodes only one factor has one dark cell."
    )
    return Picture("node_factor", "What each node encodes", caption, figure)


def _plot_edges(
    info: Info, edges: Float[np.ndarray, "a n n"], without: Float[np.ndarray, "n n"]
) -> Figure:
    """The mean graph without an action, and how every action changes it."""
    columns, nodes = info.num_factors + 1, len(without)
    figure = figures.fixed_figure(2.1 * columns, 4.4)
    grid = figure.add_gridspec(2, columns, wspace=0.22, hspace=0.3)
    change = edges - without
    limit = max(float(np.abs(change).max()), 1e-3)
    ticks = sorted({0, nodes // 2, nodes - 1})

    def plot(cell: Any, title: str, matrix: np.ndarray, **colours: Any) -> tuple[Axes, Any]:
        axes = figure.add_subplot(cell)
        picture = axes.imshow(matrix, interpolation="nearest", **colours)
        axes.set_title(title, fontsize=11)
        axes.set_xticks(ticks)
        axes.set_yticks(ticks)
        axes.tick_params(labelsize=8)
        return axes, picture

    first, present = plot(grid[0, 0], "no action", without, cmap="Blues", vmin=0, vmax=1)
    first.set_xlabel("from node", fontsize=9)
    first.set_ylabel("into node", fontsize=9)
    for action, name in enumerate(figures.action_labels(info)):
        cell = grid[action // info.num_factors, 1 + factor_of(action, info.num_factors)]
        _, moved = plot(cell, name, change[action], cmap="RdBu_r", vmin=-limit, vmax=limit)

    scales = figure.add_subplot(grid[1, 0])
    scales.set_axis_off()
    for height, picture, label in ((0.6, present, "probability"), (0.1, moved, "change by action")):
        place = scales.inset_axes((0.0, height, 1.0, 0.1))
        figure.colorbar(picture, cax=place, orientation="horizontal")
        place.set_title(label, fontsize=9)
        place.tick_params(labelsize=8)
    return figure


def _tables(info: Info, metrics: Metrics) -> Tables:
    scores = metrics["graph"]
    columns = (
        Column("nodes hit", scores["mask_nodes_per_action"], ".1f"),
        Column("edges that appear", scores["edges_that_appear"], ".1f"),
        Column("edges that vanish", scores["edges_that_vanish"], ".1f"),
    )
    if "mask_on_own_factor" in scores:
        own = scores["mask_on_own_factor"]
        columns += (Column("hits on nodes of its own factor", own, ".2f"),)
    return Tables(by_action=columns)


MEASUREMENT = Measurement(
    "action_graph",
    _applies,
    _measure,
    section="graph",
    headlines=_headlines,
    figures=_figures,
    tables=_tables,
)
