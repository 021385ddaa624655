"""Composite actions: several steps between two test images, by a method that learnt single ones."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

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
    Table,
    Tables,
    interval,
)
from cdis.measure.sampling import SEED
from cdis.metrics.intervals import wilson_interval
from cdis.ops.actions import actions_of, shortest_way, steps_text
from cdis.ops.images import to_uint8
from cdis.trained import BATCH

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Pairs, and interventions, of each kind.
MAX_TRIALS = 256
#: The search is not told how many steps there are; it may answer with up to so many, or none.
MAX_STEPS = 3
#: A method that retrieves fewer of the single steps is not asked for several, which takes long.
MIN_SINGLE = 0.5
#: Of one kind, the ways to move that are looked at, until there are enough pairs.
_DRAWN = 50_000
_SHOWN = 2  # pairs of each kind


class _Kind(NamedTuple):
    """Several factors that move by as many steps each."""

    title: str
    factors: int
    steps: int


KINDS = {
    "one_step": _Kind("1 factor, 1 step", 1, 1),
    "two_factors": _Kind("2 factors, 1 step each", 2, 1),
    "three_factors": _Kind("3 factors, 1 step each", 3, 1),
    "two_steps": _Kind("1 factor, 2 steps", 1, 2),
    "three_steps": _Kind("1 factor, 3 steps", 1, 3),
}


class _Trials(NamedTuple):
    """Test images and the steps to take from them, without any that leave a factor's range."""

    x: Int[np.ndarray, " n"]
    steps: Int[np.ndarray, "n f"]
    target: Int[np.ndarray, "n f"]  #: the factors afterwards
    y: Int[np.ndarray, " n"]  #: a test image that has them, or -1

    def chosen(self, which: Bool[np.ndarray, " n"]) -> _Trials:
        """The first `MAX_TRIALS` of some."""
        return _Trials(*(part[which][:MAX_TRIALS] for part in self))


def _applies(subject: Subject) -> bool:
    return subject.method.actions.retrieve_steps is not None and subject.has_steps


def _trials(subject: Subject, kind: _Kind) -> _Trials:
    """A seeded sample of all trials of a kind."""
    info, index, rng = subject.info, subject.labelled, np.random.default_rng(SEED)
    moves = _moves(kind, info)
    total = len(index) * len(moves)
    drawn = rng.permutation(total) if total <= _DRAWN else rng.integers(0, total, _DRAWN)
    image, move = np.divmod(drawn, max(len(moves), 1))
    x, steps, sizes = index[image], moves[move], np.array(info.factor_sizes)
    target = subject.dataset.factors[x] + steps
    target = np.where(info.circular, target % sizes, target)
    possible = ((target >= 0) & (target < sizes)).all(1)
    x, steps, target = x[possible], steps[possible], target[possible]

    shuffled = rng.permutation(index)  # any one of several images with equal factors
    known = subject.dataset.factors[shuffled]
    cells = transitions.combinations(
        np.concatenate([known, target]).astype(np.int64), info.factor_sizes
    )
    there, first = np.unique(cells[: len(known)], return_index=True)
    wanted = cells[len(known) :]
    place = np.searchsorted(there, wanted).clip(0, len(there) - 1)
    return _Trials(x, steps, target, np.where(there[place] == wanted, shuffled[first[place]], -1))


def _moves(kind: _Kind, info: Info) -> Int[np.ndarray, "m f"]:
    """Every way to move of a kind; none takes the longer way round a circle."""
    signs = np.array(list(itertools.product((kind.steps, -kind.steps), repeat=kind.factors)))
    moving = list(itertools.combinations(range(info.num_factors), kind.factors))
    moves = np.zeros((len(moving), len(signs), info.num_factors), np.int64)
    for move, factors in zip(moves, moving, strict=True):
        move[:, factors] = signs
    moves = moves.reshape(-1, info.num_factors)
    fits = (np.abs(moves) < info.factor_sizes).all(1)
    fits &= (shortest_way(moves, info.factor_sizes, info.circular) == moves).all(1)
    return moves[fits]


def _measure(subject: Subject) -> Measured:
    if reason := subject.too_few_labels:
        return Measured({"composite_actions": {"reason": reason}})
    trials = {name: _trials(subject, kind) for name, kind in KINDS.items()}
    pairs = {name: of_kind.chosen(of_kind.y >= 0) for name, of_kind in trials.items()}
    if not any(len(of_kind.x) for name, of_kind in pairs.items() if name != "one_step"):
        reason = "No two labelled test images are two or three steps apart."
        return Measured({"composite_actions": {"reason": reason}})
    if (single := _single_steps(subject, pairs["one_step"])) < MIN_SINGLE:
        reason = (
            f"Single actions are retrieved in {single:.2f} of cases; composite ones are measured "
            f"from {MIN_SINGLE} on."
        )
        return Measured({"composite_actions": {"reason": reason}})
    scores: dict[str, Any] = {"split": "test", "max_steps": MAX_STEPS}
    scores["num_answers"] = _num_answers(subject.info)
    scores["kinds"] = {name: {} for name in KINDS}
    found = {name: _retrieve(subject, of_kind) for name, of_kind in pairs.items() if len(of_kind.x)}
    for name, steps in found.items():
        exact = (steps == pairs[name].steps).all(1)
        scores["kinds"][name] |= {"num_pairs": len(exact)} | _share("exact", exact)
        subject.progress(
            f"composite actions, {KINDS[name].title}: {len(exact)} test pairs, all steps right in "
            f"{exact.mean():.3f} {interval(scores['kinds'][name], 'exact')}"
        )
    if subject.method.actions.intervene is not None and subject.predictor is not None:
        for name, of_kind in trials.items():
            if name != "one_step" and len(of_kind.x):
                scores["kinds"][name] |= _intervention_scores(subject, of_kind)
    return Measured({"composite_actions": scores}, _shown(subject, pairs, found))


def _single_steps(subject: Subject, pairs: _Trials) -> float:
    """The share of single actions that are retrieved as such; 1 if there are no such pairs."""
    images, actions = subject.dataset.images, [actions_of(row) for row in pairs.steps.tolist()]
    if not actions or subject.method.actions.retrieve is None:
        return 1.0
    found = subject.trained.retrieve(images[pairs.x], images[pairs.y]).argmax(1)
    return float((found == np.concatenate(actions)).mean())


def _retrieve(subject: Subject, pairs: _Trials) -> Int[np.ndarray, "n f"]:
    images = subject.dataset.images
    return in_chunks(
        lambda rows: (
            subject.trained.retrieve_steps(
                images[pairs.x[rows]], images[pairs.y[rows]], max_steps=MAX_STEPS
            ).steps
        ),
        len(pairs.x),
        size=BATCH,
    )


def _intervene(
    subject: Subject, x: Int[np.ndarray, " n"], steps: Int[np.ndarray, "n f"]
) -> Float[np.ndarray, "n h w c"]:
    """The images after the actions of each, all of which have as many."""
    actions = np.array([actions_of(row) for row in steps.tolist()], np.int32)
    images = subject.dataset.images
    return in_chunks(
        lambda rows: subject.trained.intervene(images[x[rows]], actions[rows]), len(x), size=BATCH
    )


def _intervention_scores(subject: Subject, trials: _Trials) -> dict[str, Any]:
    """Several actions applied at once: what the factor predictor reads in the result."""
    assert subject.predictor is not None
    chosen = trials.chosen(np.full(len(trials.x), True))
    read = subject.predictor.predict(_intervene(subject, chosen.x, chosen.steps))
    right = (read == chosen.target).all(1)
    return {"num_interventions": len(right)} | _share("all_factors_right", right)


def _share(name: str, right: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    interval = wilson_interval(right.sum(), len(right))
    return {name: float(right.mean()), f"{name}_interval": list(interval)}


def _num_answers(info: Info) -> int:
    """How many answers of up to `MAX_STEPS` steps there are."""
    ways = np.eye(MAX_STEPS + 1, dtype=int)[0]  # by number of steps in all
    for size, circular in zip(info.factor_sizes, info.circular, strict=True):
        steps = np.arange(1 - size, size)
        steps = np.abs(np.unique(shortest_way(steps, (size,), (circular,))))
        of_factor = np.bincount(steps[steps <= MAX_STEPS], minlength=MAX_STEPS + 1)
        ways = np.convolve(ways, of_factor)[: MAX_STEPS + 1]
    return int(ways.sum())


def _shown(
    subject: Subject, pairs: dict[str, _Trials], found: dict[str, Int[np.ndarray, "n f"]]
) -> Arrays:
    """A few pairs of each kind with their answers, for the figure."""
    shown = {name: slice(_SHOWN) for name in found if name != "one_step"}
    x, y, true = (
        np.concatenate([getattr(pairs[name], part)[few] for name, few in shown.items()])
        for part in ("x", "y", "steps")
    )
    answer = np.concatenate([found[name][few] for name, few in shown.items()])
    images = subject.dataset.images
    arrays = {
        "composite_x": images[x],
        "composite_y": images[y],
        "composite_true": true,
        "composite_answer": answer,
    }
    if subject.method.actions.intervene is not None:
        arrays["composite_result"] = np.empty_like(arrays["composite_x"])
        length = np.abs(answer).sum(1)
        for rows in (np.flatnonzero(length == number) for number in np.unique(length)):
            results = _intervene(subject, x[rows], answer[rows])
            arrays["composite_result"][rows] = to_uint8(results)
    return arrays


def _headlines(metrics: Metrics) -> list[Headline]:
    scores = metrics["composite_actions"]
    chance = f"chance 1 in {scores['num_answers']:,}"
    return [
        Headline(
            f"all steps retrieved, {KINDS[name].title}",
            f"{of_kind['exact']:.3f}",
            f"{interval(of_kind, 'exact')}, {of_kind['num_pairs']:,} pairs, {chance}",
        )
        for name, of_kind in scores["kinds"].items()
        if "exact" in of_kind
    ]


def _tables(info: Info, metrics: Metrics) -> Tables:
    scores = metrics["composite_actions"]
    title_of = {name: kind.title for name, kind in KINDS.items()}

    def column(title: str, key: str, form: str = ".3f") -> Column:
        values = {title_of[name]: of_kind.get(key) for name, of_kind in scores["kinds"].items()}
        return Column(title, values, form)

    caption = (
        "Several steps between two held-out images, by a method that has learnt single ones: the "
        f"search may answer with up to {scores['max_steps']} steps, and all of them must be right. "
        "Interventions take all steps at once; all factors must be read as they should be."
    )
    columns = (
        column("pairs", "num_pairs", "d"),
        column("all steps retrieved", "exact"),
        column("interventions", "num_interventions", "d"),
        column("all factors right", "all_factors_right"),
    )
    rows = tuple(title_of.values())
    return Tables(whole=(Table("Composite actions", caption, "steps", rows, columns),))


def _figures(info: Info, metrics: Metrics, arrays: Arrays) -> list[Picture]:
    if "composite_x" not in arrays:
        return []
    caption = (
        "Pairs of held-out images, x above y; the title is the steps that were retrieved between "
        "them, and the result what these steps make of x. A red frame marks a wrong answer."
    )
    return [Picture("composite", "Composite actions", caption, _plot(info, arrays))]


def _plot(info: Info, arrays: Arrays) -> Figure:
    """Columns are pairs: x, y and x after the steps that were retrieved."""
    names = [name for name in ("x", "y", "result") if f"composite_{name}" in arrays]
    true, answer = arrays["composite_true"], arrays["composite_answer"]
    count = len(true)
    figure = figures.image_grid(len(names), count, arrays["composite_x"].shape[1:])
    for (row, name), column in itertools.product(enumerate(names), range(count)):
        axes = figure.add_subplot(len(names), count, row * count + column + 1)
        right = (true[column] == answer[column]).all()
        edge = figures.LINE if right or row == 0 else figures.RED
        figures.show(axes, arrays[f"composite_{name}"][column], edge=edge)
        if row == 0:
            label = steps_text(answer[column].tolist(), info.factor_names).replace(" ", "\n")
            axes.set_title(label.replace("-", "\u2212"), fontsize=9)
        if column == 0:
            axes.set_ylabel(name, fontsize=11)
    return figure


MEASUREMENT = Measurement(
    "composite_actions",
    _applies,
    _measure,
    headlines=_headlines,
    figures=_figures,
    tables=_tables,
)
