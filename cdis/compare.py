"""Runs side by side: a column for each experiment, a row for each score, means over seeds."""

import json
import os
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from cdis.errors import UserError
from cdis.metrics.intervals import mean_interval

_TASKS = {
    "sample_efficiency.{part}.accuracy_few": "accuracy, few labels",
    "sample_efficiency.{part}.accuracy_all": "accuracy, all labels",
    "sample_efficiency.{part}.efficiency": "sample efficiency",
    "robustness.{part}.all_labels.average": "misled, all labels: average",
    "robustness.{part}.all_labels.worst_group": "misled, all labels: worst group",
    "robustness.{part}.few_labels.average": "misled, few labels: average",
    "robustness.{part}.few_labels.worst_group": "misled, few labels: worst group",
}
#: Dotted names of numbers in metrics.json, and what their rows are called.
SCORES = {
    "elbo": "ELBO",
    "reconstruction.mse": "reconstruction MSE",
    "factors.r2_worst": "R² of the worst labelled latent",
    "disentanglement.vectors.metrics.r2.scores.linear": "R² of a linear read-out",
    "disentanglement.vectors.metrics.dci.scores.disentanglement": "DCI disentanglement",
} | {
    f"downstream.{label}{name.format(part=part)}": f"{title} ({of_label}, {of_part})"
    for label, of_label in (("likelier_label.", "likelier label"), ("", "drawn label"))
    for part, of_part in (
        ("all", "all dimensions"),
        ("labelled", "labelled dimensions"),
        ("true_factors", "true factors"),
    )
    for name, title in _TASKS.items()
}


def compare(
    workdirs: Sequence[str | os.PathLike], scores: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Scores of evaluated workdirs, those that differ in nothing but the seed taken together.

    Args:
      workdirs: each with config.json and metrics.json.
      scores: dotted names of numbers in metrics.json, or of groups of `SCORES`, such as
        "downstream.likelier_label"; none: all of `SCORES` that a run has.

    Returns:
      For each experiment, in the order of their first workdirs, ``name`` (what the names of its
      workdirs have in common), ``seeds`` and ``scores``: dotted name -> ``{"mean", "interval"}``,
      or None where a run lacks it; ``interval`` is 95 % by Student's t, None of one run.

    Raises:
      UserError: a workdir that was not evaluated, the same seed twice in an experiment, a name that
        no run has.
    """
    groups: dict[str, list[tuple[Path, int, dict[str, Any]]]] = {}
    for workdir in map(Path, workdirs):
        try:
            config = json.loads((workdir / "config.json").read_text())
            metrics = json.loads((workdir / "metrics.json").read_text())
        except (OSError, ValueError) as error:
            raise UserError(
                f"{workdir} has no config.json and metrics.json to read ({error}). Give workdirs "
                "that cdis evaluate has measured."
            ) from None
        seed = config.pop("seed")
        group = groups.setdefault(json.dumps(config, sort_keys=True), [])
        if seed in [other for _, other, _ in group]:
            raise UserError(
                f"{workdir} is a second run with seed {seed} of one experiment: equal runs say "
                "nothing of the spread over seeds. Give each run once."
            )
        group.append((workdir, seed, metrics))
    runs = [metrics for group in groups.values() for _, _, metrics in group]
    names = _chosen(scores, runs)
    columns = []
    for group in groups.values():
        paths, seeds, measured = zip(*group, strict=True)
        over = {name: _over_runs([_number(m, name) for m in measured]) for name in names}
        columns.append({"name": _common_name(paths), "seeds": list(seeds), "scores": over})
    return columns


def markdown(experiments: Sequence[dict[str, Any]]) -> str:
    """What `compare` gives as a table; half of an interval's width stands behind the mean."""
    lines = [
        ("", *(column["name"] for column in experiments)),
        ("---",) * (1 + len(experiments)),
        ("seeds", *(", ".join(map(str, column["seeds"])) for column in experiments)),
    ]
    for name in experiments[0]["scores"]:
        cells = (_cell(column["scores"][name]) for column in experiments)
        lines.append((SCORES.get(name, name), *cells))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _chosen(scores: Sequence[str], runs: Sequence[dict[str, Any]]) -> list[str]:
    """Dotted names, of those numbers that there are."""

    def there(names: Sequence[str]) -> list[str]:
        return [name for name in names if any(_number(run, name) is not None for run in runs)]

    chosen = [] if scores else there(list(SCORES))
    for score in scores:
        found = there([name for name in SCORES if f"{name}.".startswith(f"{score}.")] or [score])
        if not found:
            raise UserError(
                f"No run has a number {score!r} in its metrics.json. Give a dotted name, such as "
                f"{next(iter(SCORES))} or downstream.likelier_label.robustness."
            )
        chosen += found
    return list(dict.fromkeys(chosen))


def _number(metrics: dict[str, Any], name: str) -> float | None:
    value: Any = metrics
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value if isinstance(value, int | float) else None


def _over_runs(values: Sequence[float | None]) -> dict[str, Any] | None:
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    interval = list(mean_interval(np.array(known))) if len(known) > 1 else None
    return {"mean": float(np.mean(known)), "interval": interval}


def _common_name(paths: Sequence[Path]) -> str:
    names = [path.absolute().name for path in paths]
    if len(names) == 1:
        return names[0]
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in alike).rstrip("-_. ") or names[0]


def _cell(score: dict[str, Any] | None) -> str:
    if score is None:
        return "–"
    size = abs(score["mean"])
    shown = format(score["mean"], ".3g" if size < 0.1 else ".3f" if size < 100 else ",.0f")
    if score["interval"] is None:
        return shown
    half = score["interval"][1] - score["mean"]
    return f"{shown} ± {format(half, '.2g' if half < 100 else ',.0f')}"
