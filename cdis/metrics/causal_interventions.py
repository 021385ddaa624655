"""Are interventions on factors that cause one another right? Plain functions over arrays.

An intervention do(factor = value) on an image is measured by reading all factors off the image that
comes out, and comparing them with the true counterfactual: what the generator of the data would
have made of the same image. `adjacency[i, j]` is the edge into i from j.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

_LEAST_SPREAD = 1e-6


def descendants(adjacency: Int[np.ndarray, "f f"], factor: int) -> list[int]:
    """The factors that a path of edges leads to from `factor`, itself left out, in order.

    Raises ValueError if `adjacency` is not square, has a cycle, or has no such factor.
    """
    edges = np.asarray(adjacency) != 0
    if edges.ndim != 2 or edges.shape[0] != edges.shape[1]:
        raise ValueError(f"adjacency must be [F, F], not {edges.shape}")
    if not 0 <= factor < len(edges):
        raise ValueError(f"there is no factor {factor}: there are {len(edges)}")
    reached = edges.astype(np.int64)
    for _ in range(len(edges)):
        reached = np.minimum(edges + reached + reached @ edges, 1)
    if np.diag(reached).any():
        raise ValueError("adjacency has a cycle")
    return np.flatnonzero(reached[:, factor]).tolist()


def r_squared(
    predicted: Float[np.ndarray, " b"],
    target: Float[np.ndarray, " b"],
    least_spread: float = _LEAST_SPREAD,
) -> float:
    """R^2 = 1 - sum (predicted - target)^2 / sum (target - mean target)^2; below 0 if worse.

    No line is fitted. Raises ValueError if the standard deviation of the target is not above
    `least_spread` (R^2 is then not defined), or if a number is not finite.
    """
    predicted, target = (np.asarray(x, np.float64) for x in (predicted, target))
    if predicted.shape != target.shape or target.ndim != 1:
        raise ValueError(f"R^2 compares two vectors, not {predicted.shape} and {target.shape}")
    if not (np.isfinite(predicted).all() and np.isfinite(target).all()):
        raise ValueError("R^2 of numbers that are not finite")
    if len(target) < 2 or target.std() <= least_spread:
        raise ValueError("R^2 is not defined: the target is the same everywhere")
    return float(1 - np.square(predicted - target).sum() / np.square(target - target.mean()).sum())


def intervention_scores(
    read: Float[np.ndarray, "b f"],
    counterfactual: Float[np.ndarray, "b f"],
    factor: int,
    adjacency: Int[np.ndarray, "f f"],
    spread: Float[np.ndarray, " f"] | Sequence[float],
) -> dict[str, Any]:
    """Score images under do(factor = value), for one factor and values of several sizes.

    Args:
      read: the factors read off the images that the intervention made, physical values.
      counterfactual: what they should be; column `factor` holds the values asked for.
      factor: the factor that was set.
      adjacency: the true graph.
      spread: standard deviation of each factor over the data set.

    Returns:
      ``hit``: R^2 of the set factor, read, against the value asked for.
      ``propagation``: the least of ``propagation_per_factor``, R^2 of each descendant against its
      true counterfactual; None if there is no descendant or if none has an R^2.
      ``drift``: the largest of ``drift_per_factor``, the mean absolute error of each factor that
      is neither set nor a descendant, divided by its spread; None if there is no such factor.
      ``undefined``: why an R^2 of a factor is None, by its number: where the true counterfactual
      hardly varies (standard deviation below a thousandth of the spread) there is none.
      The lists are [F], with None for the factors that they do not speak of. Perfect interventions
      score 1, 1 and 0. An image returned unchanged has no drift, and R^2 near or below 0.

    Raises:
      ValueError: shapes that do not fit, numbers that are not finite, no images, a graph with a
        cycle, or a spread that is not above 0.
    """
    read, counterfactual = (np.asarray(x, np.float64) for x in (read, counterfactual))
    spread = np.asarray(spread, np.float64)
    below = descendants(adjacency, factor)
    num_factors = len(adjacency)
    if read.shape != counterfactual.shape or read.shape[1:] != (num_factors,) or not len(read):
        raise ValueError(
            f"values read {read.shape} and counterfactuals {counterfactual.shape} must both be "
            f"[b, {num_factors}], and not empty"
        )
    if spread.shape != (num_factors,) or not (np.isfinite(spread) & (spread > 0)).all():
        raise ValueError(f"spread must be {num_factors} numbers above 0, not {spread}")
    if not (np.isfinite(read).all() and np.isfinite(counterfactual).all()):
        raise ValueError("values that are not finite cannot be scored")

    undefined: dict[int, str] = {}

    def explained(i: int) -> float | None:
        try:
            return r_squared(read[:, i], counterfactual[:, i], 1e-3 * spread[i])
        except ValueError as error:
            undefined[i] = str(error)
            return None

    others = [i for i in range(num_factors) if i != factor and i not in below]
    error = np.abs(read - counterfactual).mean(0) / spread
    propagation = [explained(i) if i in below else None for i in range(num_factors)]
    drift = [float(error[i]) if i in others else None for i in range(num_factors)]
    return {
        "hit": explained(factor),
        "propagation": min((x for x in propagation if x is not None), default=None),
        "drift": max((x for x in drift if x is not None), default=None),
        "propagation_per_factor": propagation,
        "drift_per_factor": drift,
        "undefined": undefined,
        "count": len(read),
    }
