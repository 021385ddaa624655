"""Learning curves of CT-VAE: several seeds and data sets, as a figure and a table.

See tools/learning_curves --help.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from cdis.errors import UserError
from cdis.files import write_bytes
from cdis.measure import figures
from cdis.measure.comparison import common_name
from cdis.measure.training import curves_of
from cdis.training.log import read_log
from cdis.training.workdir import read_config, read_info

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: What is drawn, by its name in the log.
QUANTITIES = {
    "codes_used": "codes in use",
    "reconstruction": "reconstruction error",
    "retrieval_accuracy": "retrieval accuracy",
}
KINDS = ("validation", "")  # the first that all seeds have logged
_WIDTH, _HEIGHT = 4.2, 2.4  # of a panel, inches
#: Steps of the table's rows: 500, 1,000, 2,000, 5,000, 10,000 ...
_MILESTONES = [first * 10**power for power in range(2, 8) for first in (1, 2, 5)][2:]


class Run(NamedTuple):
    """One workdir and the lines of its log."""

    workdir: Path
    seed: int
    lines: list[dict[str, Any]]

    def points(self, quantity: str, kind: str) -> dict[int, float]:
        """Values by step, of all stages."""
        stages = curves_of(self.lines).get(quantity, {})
        found = [points for (of, _), points in stages.items() if of == kind]
        return {step: value for points in found for step, value in points}


class Curve(NamedTuple):
    """A quantity at the steps that all seeds have logged."""

    kind: str  #: "validation" or "", training
    steps: Int[np.ndarray, " t"]
    values: Float[np.ndarray, "seeds t"]

    def until(self, step: int) -> Float[np.ndarray, " seeds"] | None:
        """The last values up to a step, if there are any."""
        count = int(np.searchsorted(self.steps, step, side="right"))
        return self.values[:, count - 1] if count else None


class Experiment(NamedTuple):
    """Runs that differ only in their seeds."""

    data: str
    runs: list[Run]
    chance: float  #: of retrieval

    @property
    def name(self) -> str:
        """What the names of the workdirs have in common."""
        return common_name([run.workdir for run in self.runs])

    @property
    def ends(self) -> list[tuple[str, int]]:
        """Stages, each with the last step of it that was logged."""
        lines = max((run.lines for run in self.runs), key=lambda lines: lines[-1]["step"])
        last = [a for a, b in pairwise(lines) if a["stage"] != b["stage"]] + lines[-1:]
        return [(line["stage"], line["step"]) for line in last]

    def curve(self, quantity: str) -> Curve | None:
        """The quantity's curve, if all seeds have logged it at some step."""
        for kind in KINDS:
            points = [run.points(quantity, kind) for run in self.runs]
            steps = sorted(set.intersection(*map(set, points)))
            if steps:
                values = np.array([[of_seed[step] for step in steps] for of_seed in points])
                return Curve(kind, np.array(steps), values)
        return None


def read(workdirs: Sequence[str | os.PathLike]) -> list[Experiment]:
    """The experiments of these workdirs, in the order of their first ones.

    Raises `UserError` if one is not a workdir, has no log or none of the quantities in it, or if an
    experiment has the same seed twice.
    """
    found: dict[str, Experiment] = {}
    for workdir in map(Path, workdirs):
        config, lines = read_config(workdir).to_dict(), read_log(workdir)
        if not lines:
            raise UserError(
                f"{workdir} has no log yet: nothing was trained there, or fewer steps than "
                f"config.log_every ({config['log_every']}). Give workdirs of trainings."
            )
        if not curves_of(lines).keys() & QUANTITIES.keys():
            raise UserError(
                f"The log of {workdir} has none of {', '.join(QUANTITIES)}, which CT-VAE logs; "
                f"its method is {config['method']}. Give workdirs of CT-VAE."
            )
        run = Run(workdir, config.pop("seed"), lines)
        new = Experiment(config["data"]["name"], [], 1 / read_info(workdir).num_actions)
        runs = found.setdefault(json.dumps(config, sort_keys=True), new).runs
        if run.seed in [other.seed for other in runs]:
            raise UserError(
                f"{workdir} is a second run of one experiment with seed {run.seed}. Give each run "
                "once, and one of each seed."
            )
        runs.append(run)
    return list(found.values())


# Table


def table(experiments: Sequence[Experiment]) -> str:
    """A Markdown table: for each experiment and step, mean and range over seeds."""
    head = ("data", "run", "seeds", "step", "stage", *QUANTITIES.values())
    rows = [row for experiment in experiments for row in _rows(experiment)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))


def _rows(experiment: Experiment) -> Iterator[tuple[str, ...]]:
    curves = {quantity: experiment.curve(quantity) for quantity in QUANTITIES}
    last = max((int(curve.steps[-1]) for curve in curves.values() if curve), default=0)
    seeds = ", ".join(str(run.seed) for run in experiment.runs)
    for step in [*(step for step in _MILESTONES if step < last), last]:
        values = {name: curve.until(step) for name, curve in curves.items() if curve}
        if any(of_seeds is not None for of_seeds in values.values()):
            stage = next(name for name, end in experiment.ends if step <= end)
            cells = (_cell(values.get(name), name == "reconstruction") for name in QUANTITIES)
            yield (experiment.data, experiment.name, seeds, f"{step:,}", stage, *cells)


def _cell(values: Float[np.ndarray, " seeds"] | None, error: bool) -> str:
    if values is None:
        return "–"

    def short(x: float) -> str:
        return format(x, ".3g" if error else ".3f").removeprefix("0") or "0"

    mean = short(values.mean())
    return mean if len(values) == 1 else f"{mean} ({short(values.min())}–{short(values.max())})"


# Figure


def draw(experiments: Sequence[Experiment]) -> bytes:
    """A PNG: a row for each quantity, a column for each data set."""
    columns = list(dict.fromkeys(experiment.data for experiment in experiments))
    figure = figures.new_figure(_WIDTH * len(columns), _HEIGHT * len(QUANTITIES))
    panels = figure.subplots(len(QUANTITIES), len(columns), sharex="col", squeeze=False)
    for column, data in enumerate(columns):
        here = [experiment for experiment in experiments if experiment.data == data]
        panels[0, column].set_title(data, fontsize=11, loc="left")
        panels[-1, column].set_xlabel("step", fontsize=9)
        for row, (quantity, title) in enumerate(QUANTITIES.items()):
            axes = panels[row, column]
            for number, experiment in enumerate(here):
                _draw_curve(axes, experiment, quantity, f"C{number}")
            _finish(axes, here, quantity)
            if column == 0:
                axes.set_ylabel(title, fontsize=9)
        if len(here) > 1:
            panels[-1, column].legend(fontsize=8, frameon=False)
    return figures.png(figure)


def _draw_curve(axes: Axes, experiment: Experiment, quantity: str, colour: str) -> None:
    curve = experiment.curve(quantity)
    if curve is None:
        return
    marker = "." if len(curve.steps) < 3 else None
    mean, low, high = (f(curve.values, axis=0) for f in (np.mean, np.min, np.max))
    axes.fill_between(curve.steps, low, high, color=colour, alpha=0.2, lw=0)
    axes.plot(curve.steps, mean, color=colour, lw=1.6, marker=marker, label=experiment.name)
    for run in experiment.runs if len(experiment.runs) > 1 else ():
        points = sorted(run.points(quantity, curve.kind).items())
        axes.plot(*zip(*points, strict=True), color=colour, lw=0.5, alpha=0.6)


def _finish(axes: Axes, here: Sequence[Experiment], quantity: str) -> None:
    for end in {end for experiment in here for _, end in experiment.ends[:-1]}:
        axes.axvline(end, color=figures.GREY, lw=0.8, ls=":")
    axes.set_ylim(0, None if quantity == "reconstruction" else 1.02)
    if quantity == "retrieval_accuracy":
        axes.axhline(here[0].chance, color=figures.GREY, lw=0.8, ls=":")
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25, lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)


# All points


def points(experiments: Sequence[Experiment]) -> str:
    """CSV: a line for each point that a run has logged of a quantity."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("data", "run", "seed", "quantity", "kind", "step", "value"))
    runs = [(experiment, run) for experiment in experiments for run in experiment.runs]
    for (experiment, run), quantity, kind in product(runs, QUANTITIES, KINDS):
        head = (experiment.data, experiment.name, run.seed, quantity, kind or "training")
        for step, value in sorted(run.points(quantity, kind).items()):
            writer.writerow((*head, step, value))
    return file.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(prog="learning_curves")
    parser.add_argument("workdirs", nargs="+", metavar="WORKDIR")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    experiments = read(options.workdirs)
    print(table(experiments))
    if options.csv:
        write_bytes(options.csv, points(experiments).encode())
    if options.out:
        write_bytes(options.out, draw(experiments))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"learning_curves: {error}")
