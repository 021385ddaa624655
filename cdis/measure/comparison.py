"""Runs side by side: a column for each experiment, a row for each score, means over seeds."""

import json
import os
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cdis.errors import UserError
from cdis.measure.base import Measurement, Metrics
from cdis.measure.catalogue import MEASUREMENTS
from cdis.metrics.intervals import mean_interval
from cdis.training.workdir import CONFIG, METRICS


class _Run(NamedTuple):
    workdir: Path
    seed: int
    metrics: Metrics


def compare(
    workdirs: Sequence[str | os.PathLike],
    scores: Sequence[str] = (),
    *,
    measurements: Sequence[Measurement] = MEASUREMENTS,
) -> list[dict[str, Any]]:
    """Scores of evaluated workdirs; those that differ only in the seed are one experiment.

    Args:
      workdirs: each with config.json and metrics.json.
      scores: dotted names of numbers in metrics.json, or of groups of the measurements' scores,
        such as "downstream.likelier_label"; none: all scores of the measurements that a run has.
      measurements: whose scores to compare.

    Returns:
      For each experiment, in the order of their first workdirs, ``name`` (what the names of its
      workdirs have in common), ``seeds``, ``unseen`` (the two factors whose unseen combinations
      are its test images; empty for an ordinary test split) and ``scores``: dotted name ->
      ``{"mean", "interval"}``, or None if a run lacks it. ``interval`` is the 95 % interval by
      Student's t, or None for a single run.

    Raises:
      UserError: a workdir was not evaluated, an experiment has the same seed twice, or no run has
        a score of that name.
    """
    experiments: dict[str, list[_Run]] = {}
    for workdir in map(Path, workdirs):
        config, metrics = _read(workdir)
        seed = config.pop("seed")
        runs = experiments.setdefault(json.dumps(config, sort_keys=True), [])
        if seed in [run.seed for run in runs]:
            raise UserError(
                f"{workdir} is a second run of one experiment with seed {seed}; identical runs "
                "show nothing of the variation over seeds. Give each run once."
            )
        runs.append(_Run(workdir, seed, metrics))
    all_metrics = [run.metrics for runs in experiments.values() for run in runs]
    names = _chosen(scores, list(_titles(measurements)), all_metrics)
    return [
        {
            "name": common_name([run.workdir for run in runs]),
            "seeds": [run.seed for run in runs],
            "unseen": runs[0].metrics.get("unseen", []),
            "scores": {
                name: _over_runs([_number(run.metrics, name) for run in runs]) for name in names
            },
        }
        for runs in experiments.values()
    ]


def markdown(
    experiments: Sequence[dict[str, Any]], *, measurements: Sequence[Measurement] = MEASUREMENTS
) -> str:
    """The result of `compare` as a table: mean ± half the width of its interval.

    If test splits differ, or are of unseen combinations, a row says what they are.
    """
    titles = _titles(measurements)
    lines = [
        ("", *(column["name"] for column in experiments)),
        ("---",) * (1 + len(experiments)),
        ("seeds", *(", ".join(map(str, column["seeds"])) for column in experiments)),
    ]
    if any(column["unseen"] for column in experiments):
        tested = (" x ".join(column["unseen"]) or "no" for column in experiments)
        lines.append(("test images: unseen combinations of", *tested))
    for name in experiments[0]["scores"]:
        cells = (_cell(column["scores"][name]) for column in experiments)
        lines.append((titles.get(name, name), *cells))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _titles(measurements: Sequence[Measurement]) -> dict[str, str]:
    """The title of each score, by its dotted name."""
    return {
        name: title for measurement in measurements for name, title in measurement.scores.items()
    }


def _read(workdir: Path) -> tuple[dict[str, Any], Metrics]:
    try:
        config = json.loads((workdir / CONFIG).read_text())
        return config, json.loads((workdir / METRICS).read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{workdir} has no readable config.json and metrics.json ({error}). Give workdirs "
            "that cdis evaluate has measured."
        ) from None


def _chosen(scores: Sequence[str], known: list[str], runs: Sequence[Metrics]) -> list[str]:
    """Dotted names of the numbers to compare, each of which at least one run has."""

    def found(names: Sequence[str]) -> list[str]:
        return [name for name in names if any(_number(run, name) is not None for run in runs)]

    chosen = [] if scores else found(known)
    for score in scores:
        group = [name for name in known if f"{name}.".startswith(f"{score}.")]
        numbers = found(group or [score])
        if not numbers:
            raise UserError(
                f"No run has a number {score!r} in its metrics.json. Give a dotted name, such as "
                "reconstruction.mse, or a group of scores, such as downstream.likelier_label."
            )
        chosen += numbers
    return list(dict.fromkeys(chosen))


def _number(metrics: Metrics, name: str) -> float | None:
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


def common_name(paths: Sequence[Path]) -> str:
    """What the names of the workdirs of an experiment have in common."""
    names = [path.absolute().name for path in paths]
    if len(names) == 1:
        return names[0]
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in same).rstrip("-_. ") or names[0]


def _cell(score: dict[str, Any] | None) -> str:
    if score is None:
        return "–"
    size = abs(score["mean"])
    shown = format(score["mean"], ".3g" if size < 0.1 else ".3f" if size < 100 else ",.0f")
    if score["interval"] is None:
        return shown
    half = score["interval"][1] - score["mean"]
    return f"{shown} ± {format(half, '.2g' if half < 100 else ',.0f')}"
