"""Scores of interventions on factors that cause one another. Plain functions over arrays.

An intervention do(factor = value) on an image is scored by measuring all factors on the resulting
image and comparing them with the true counterfactual: the factors that the data generator gives
under the same intervention. `adjacency[i, j]` is the edge into i from j.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from cdis.ops.adjacency import reachable

_MIN_STD = 1e-6


def descendants(adjacency: Int[np.ndarray, "f f"], factor: int) -> list[int]:
    """The descendants of `factor`, in order, without itself.

    Raises ValueError if `adjacency` is not square, has a cycle, or has no such factor.
    """
    adjacency = np.asarray(adjacency)
    if adjacency.ndim != 2 or adjacency.shape[0] != adjacency.shape[1]:
        raise ValueError(f"adjacency must be [F, F], not {adjacency.shape}")
    if not 0 <= factor < len(adjacency):
        raise ValueError(f"there is no factor {factor}: there are {len(adjacency)}")
    reached = reachable(adjacency)
    if reached.diagonal().any():
        raise ValueError("adjacency has a cycle")
    return np.flatnonzero(reached[:, factor]).tolist()


def r_squared(
    predicted: Float[np.ndarray, " b"],
    target: Float[np.ndarray, " b"],
    min_std: float = _MIN_STD,
) -> float:
    """R^2 = 1 - sum (predicted - target)^2 / sum (target - mean target)^2; no line is fitted.

    1 is perfect; predictions worse than the mean score below 0. Raises ValueError if the standard
    deviation of the target is at most `min_std`, where R^2 is not defined, or if a number is not
    finite.
    """
    predicted, target = (np.asarray(x, np.float64) for x in (predicted, target))
    if predicted.shape != target.shape or target.ndim != 1:
        raise ValueError(f"R^2 compares two vectors, not {predicted.shape} and {target.shape}")
    if not (np.isfinite(predicted).all() and np.isfinite(target).all()):
        raise ValueError("R^2 needs finite numbers")
    if len(target) < 2 or target.std() <= min_std:
        raise ValueError("R^2 is not defined: the target is constant")
    return float(1 - np.square(predicted - target).sum() / np.square(target - target.mean()).sum())


def intervention_scores(
    measured: Float[np.ndarray, "b f"],
    counterfactual: Float[np.ndarray, "b f"],
    factor: int,
    adjacency: Int[np.ndarray, "f f"],
    std: Float[np.ndarray, " f"] | Sequence[float],
    categorical: Sequence[bool] | None = None,
) -> dict[str, Any]:
    """Score images under do(factor = value), for one factor and a range of values.

    Args:
      measured: ``[b, F]``, the factors measured on the intervened images, in physical units.
      counterfactual: ``[b, F]``, their true values; column `factor` holds the values asked for.
      factor: the factor that was set.
      adjacency: ``[F, F]``, the true graph.
      std: standard deviation of each factor over the data set.
      categorical: whether the values of each factor are mere names; by default none are. In place
        of R^2 they have an accuracy, and their drift is the share of images in which they changed.

    Returns:
      ``hit``: R^2 of the measured values of the set factor against the values asked for.
      ``propagation``: the smallest of ``propagation_per_factor``, the R^2 of each descendant
      against its true counterfactual; None if there is no descendant or if none has an R^2.
      ``drift``: the largest of ``drift_per_factor``, the mean absolute error of each factor that
      is neither set nor a descendant, divided by its std; None if there is no such factor.
      ``undefined``: factor -> why its R^2 is None: its true counterfactual hardly varies (its
      standard deviation is below a thousandth of `std`).
      ``count``: b.
      The per-factor lists have length F, with None where a factor does not apply. Perfect
      interventions score 1, 1 and 0. An unchanged image has no drift and an R^2 near or below 0.

    Raises:
      ValueError: shapes that do not match, numbers that are not finite, no images, a graph with a
        cycle, or a std that is not positive.
    """
    measured, counterfactual = (np.asarray(x, np.float64) for x in (measured, counterfactual))
    std = np.asarray(std, np.float64)
    below = descendants(adjacency, factor)
    num_factors = len(adjacency)
    named = np.zeros(num_factors, bool) if categorical is None else np.asarray(categorical, bool)
    _check_values(measured, counterfactual, std, num_factors)

    undefined: dict[int, str] = {}

    right = (measured == counterfactual).mean(0)

    def explained(i: int) -> float | None:
        if named[i]:
            return float(right[i])
        try:
            return r_squared(measured[:, i], counterfactual[:, i], 1e-3 * std[i])
        except ValueError as error:
            undefined[i] = str(error)
            return None

    others = [i for i in range(num_factors) if i != factor and i not in below]
    error = np.where(named, 1 - right, np.abs(measured - counterfactual).mean(0) / std)
    propagation = [explained(i) if i in below else None for i in range(num_factors)]
    drift = [float(error[i]) if i in others else None for i in range(num_factors)]
    return {
        "hit": explained(factor),
        "propagation": min((x for x in propagation if x is not None), default=None),
        "drift": max((x for x in drift if x is not None), default=None),
        "propagation_per_factor": propagation,
        "drift_per_factor": drift,
        "undefined": undefined,
        "count": len(measured),
    }


def _check_values(
    measured: np.ndarray, counterfactual: np.ndarray, std: np.ndarray, num_factors: int
) -> None:
    shapes = measured.shape, counterfactual.shape
    if shapes[0] != shapes[1] or shapes[0][1:] != (num_factors,) or not len(measured):
        raise ValueError(
            f"measured values {shapes[0]} and counterfactuals {shapes[1]} must both be "
            f"[b, {num_factors}] and not empty"
        )
    if std.shape != (num_factors,) or not (np.isfinite(std) & (std > 0)).all():
        raise ValueError(f"std must be {num_factors} positive numbers, not {std}")
    if not (np.isfinite(measured).all() and np.isfinite(counterfactual).all()):
        raise ValueError("measured values and counterfactuals must be finite")
