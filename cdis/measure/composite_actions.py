"""Composite actions: several steps between two test images, by a method that learnt single ones."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

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
#: The search is not told how many steps there are; it may answer with up to so many.
MAX_STEPS = 4
#: Of one kind, the ways to move that are looked at, until there are enough pairs.
_DRAWN = 50_000
_SHOWN = 8


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

    def of(self, rows: np.ndarray) -> _Trials:
        """Some of them."""
        return _Trials(*(part[rows][:MAX_TRIALS] for part in self))


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
    cells = transitions.combinations(np.concatenate([known, target]).astype(np.int64), sizes)
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
    kinds = {name: _trials(subject, kind) for name, kind in KINDS.items()}
    pairs = {name: trials.of(trials.y >= 0) for name, trials in kinds.items()}
    if not any(len(trials.x) for name, trials in pairs.items() if name != "one_step"):
        reason = "No two labelled test images are two or three steps apart."
        return Measured({"composite_actions": {"reason": reason}})
