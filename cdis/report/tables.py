"""The tables of the page."""

import html
from typing import Any

from cdis.data.info import Info
from cdis.report.figures import arrow


def tables(info: Info, metrics: dict[str, Any]) -> str:
    """Per action: retrieval, interventions, graph; per factor: what is read from images."""
    retrieval, graph = metrics.get("action_retrieval"), metrics.get("graph")
    interventions = metrics.get("interventions")
    reconstruction = metrics.get("reconstruction", {})
    columns: list[tuple[str, dict[str, Any], str]] = []
    if retrieval:
        columns += [
            ("pairs", retrieval["per_action_count"], "d"),
            ("retrieved, directed", retrieval["per_action"], ".3f"),
            ("undirected", retrieval["per_action_undirected"], ".3f"),
        ]
    if interventions and "per_action" in interventions:
        scores = interventions["per_action"]
        columns += [
            (title, {name: scores[name][key] for name in scores}, form)
            for title, key, form in (
                ("interventions", "count", "d"),
                ("named factor moved", "named_factor_moved", ".3f"),
                ("others kept", "other_factors_kept", ".3f"),
            )
        ]
    if graph:
        columns += [
            ("nodes hit", graph["mask_nodes_per_action"], ".1f"),
            ("edges that appear", graph["edges_that_appear"], ".1f"),
            ("vanish", graph["edges_that_vanish"], ".1f"),
        ]
        if "mask_on_own_factor" in graph:
            columns.append(("hits on own factor's nodes", graph["mask_on_own_factor"], ".2f"))
    text = ""
    if columns:
        text = _table("action", [(arrow(name), name) for name in info.action_names], columns)
    columns = []
    if "factor_accuracy_per_factor" in reconstruction:
        columns += [
            ("read from real images", reconstruction["factor_accuracy_real_images_per_factor"],
             ".3f"),
            ("read from reconstructions", reconstruction["factor_accuracy_per_factor"], ".3f"),
        ]  # fmt: skip
    if interventions and "kept_per_factor" in interventions:
        kept = interventions["kept_per_factor"]
        columns.append(("kept when another is named", kept, ".3f"))
    if "factors" in metrics:
        columns.append(("R\u00b2 of its latent", metrics["factors"]["r2"], ".4f"))
    for cause in info.factor_names:
        if (scores := (interventions or {}).get(f"do_{cause}")) is not None:
            follow = {cause: scores["hit"]} | scores["propagation_per_factor"]
            for title, told in (
                (f"R\u00b2 under do({cause})", follow),
                ("drift", scores["drift_per_factor"]),
            ):
                columns.append((title, {n: told.get(n) for n in info.factor_names}, ".3f"))
    if columns:
        text += _table("factor", [(name, name) for name in info.factor_names], columns)
    return text


def downstream(tasks: dict[str, Any]) -> str:
    """Accuracy of classifiers, with intervals over their repeats, for each label and part."""
    few = tasks["sample_efficiency"]["all"]["few"]
    rows: list[tuple[str, str]] = []
    cells: dict[str, dict[str, str]] = {}
    for label, measured in (("drawn", tasks), ("likelier", tasks["likelier_label"])):
        for part, efficiency in measured["sample_efficiency"].items():
            key = f"{label} {part}"
            rows.append((f"{part.replace('_', ' ')}, {label} label", key))
            robustness = measured["robustness"][part]
            for title, scores, name in (
                (f"accuracy, {few} labels", efficiency, "accuracy_few"),
                ("all labels", efficiency, "accuracy_all"),
                ("ratio", efficiency, "efficiency"),
                ("misled, all labels", robustness["all_labels"], "average"),
                ("worst group", robustness["all_labels"], "worst_group"),
                (f"misled, {few} labels", robustness["few_labels"], "average"),
                ("worst group ", robustness["few_labels"], "worst_group"),
            ):
                value = f"{scores[name]:.3f}<br>{interval(scores, name)}"
                cells.setdefault(title, {})[key] = value
    return (
        "<h2>Downstream tasks</h2><p>Accuracy of a small classifier on the latents, and on the "
        "true factors, which is what can be hoped for: a drawn label cannot be told for sure. "
        "Misled: a tint of the image mostly agrees with the label in training (.8 of the images, "
        f"of {few} labels .9), and not in the test. Brackets are intervals over repeats.</p>"
        + _table("dimensions", rows, [(title, values, "") for title, values in cells.items()])
    )


def _table(
    first: str, rows: list[tuple[str, str]], columns: list[tuple[str, dict[str, Any], str]]
) -> str:
    head = "".join(f"<th>{title}</th>" for title in (first, *(title for title, _, _ in columns)))
    body = "".join(
        f"<tr><td>{escape(label)}</td>"
        + "".join(
            f"<td>{'–' if values[key] is None else format(values[key], form)}</td>"
            for _, values, form in columns
        )
        + "</tr>"
        for label, key in rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def interval(scores: dict[str, Any], name: str) -> str:
    low, high = scores[f"{name}_interval"]
    return f"[{low:.3f}, {high:.3f}]"


def escape(text: Any) -> str:
    return html.escape(str(text))
