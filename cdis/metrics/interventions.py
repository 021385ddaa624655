"""Scores of one-step actions: the target factor should move by one step, and no other factor."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from cdis.metrics.intervals import clustered_interval, wilson_interval
from cdis.ops.actions import direction_of, factor_of


def target_factors(
    factors: Int[np.ndarray, "trials factors"],
    action: Int[np.ndarray, " trials"],
    sizes: tuple[int, ...],
    circular: tuple[bool, ...],
) -> tuple[Int[np.ndarray, "trials factors"], Bool[np.ndarray, " trials"]]:
    """The factors after each action, and whether the action is possible.

    Actions are numbered as in `cdis.ops.actions`. A step past the end of a circular factor wraps
    around; of any other factor it is impossible, and the target row is then meaningless.

    Args:
      factors: ``[trials, F]``, before the action.
      action: ``[trials]``, in 0..2 F - 1.
      sizes: number of values of each factor.
      circular: whether each factor wraps around.

    Returns:
      Factors after the action ``[trials, F]``, and booleans ``[trials]``.
    """
    factors, action = np.asarray(factors), np.asarray(action).astype(np.int64)
    num_factors = len(sizes)
    rows, moving = np.arange(len(action)), factor_of(action, num_factors)
    moved = factors[rows, moving] + direction_of(action, num_factors)
    size, wraps = np.asarray(sizes)[moving], np.asarray(circular, bool)[moving]
    valid = wraps | ((moved >= 0) & (moved < size))
    target = factors.copy()
    target[rows, moving] = moved % size
    return target, valid


def intervention_scores(
    predicted: Int[np.ndarray, "trials factors"],
    factors: Int[np.ndarray, "trials factors"],
    action: Int[np.ndarray, " trials"],
    sizes: tuple[int, ...],
    circular: tuple[bool, ...],
    image: Int[np.ndarray, " trials"] | None = None,
) -> dict[str, Any]:
    """Compare factors predicted from intervened images with those that the action should give.

    Impossible actions are left out. Perfect interventions score 1 in the three scores below;
    unchanged images score 0, 1 and 0.

    Args:
      predicted: ``[trials, F]``, factors of the intervened images.
      factors: ``[trials, F]``, true factors of the original images.
      action, sizes, circular: see `target_factors`.
      image: ``[trials]``, identifies the original image of each trial: trials on one image are not
        independent. Default: all differ.

    Returns:
      ``named_factor_moved``: how often the action's factor moved by exactly one step in the right
      direction; ``other_factors_kept``: the mean proportion of other factors that did not change;
      ``all_factors_right``: how often every factor is right. Each has a 95 % ``..._interval``.
      ``count``: possible trials. ``per_action``: for each action, a dict of the three scores (None
      where the count is 0) and ``count``. ``kept_per_factor``: how often each factor stayed the
      same under actions on other factors.

    Raises:
      ValueError: no action is possible.
    """
    predicted, factors, action = map(np.asarray, (predicted, factors, action))
    image = np.arange(len(action)) if image is None else np.asarray(image)
    target, valid = target_factors(factors, action, sizes, circular)
    if not valid.any():
        raise ValueError("no action is possible on these images")
    right = (predicted == target)[valid]
    action, cluster = action[valid], np.unique(image[valid], return_inverse=True)[1]
    num_factors = len(sizes)
    moving = np.eye(num_factors, dtype=bool)[factor_of(action, num_factors)]
    scores = {
        "named_factor_moved": right[moving],
        "other_factors_kept": np.where(moving, 0, right).sum(1) / max(num_factors - 1, 1),
        "all_factors_right": right.all(1),
    }
    if num_factors == 1:
        scores["other_factors_kept"] = np.ones(len(action))

    result: dict[str, Any] = {}
    counts = np.bincount(cluster)
    for name, values in scores.items():
        result[name] = float(values.mean())
        sums = np.bincount(cluster, weights=values)
        interval = clustered_interval(sums, counts)
        if interval[0] == interval[1]:  # all right or all wrong, so the estimated variance is 0
            interval = wilson_interval(sums.sum() / counts.mean(), len(counts))
        result[f"{name}_interval"] = list(interval)
    result["count"] = len(action)
    result["per_action"] = [
        {name: float(values[action == a].mean()) if (action == a).any() else None
         for name, values in scores.items()} | {"count": int((action == a).sum())}
        for a in range(2 * num_factors)
    ]  # fmt: skip
    stayed = [right[~moving[:, f], f] for f in range(num_factors)]
    result["kept_per_factor"] = [float(s.mean()) if len(s) else None for s in stayed]
    return result
