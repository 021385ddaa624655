"""Is an intervention one? The named factor should move by one step and no other at all."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from cdis.metrics.intervals import clustered_interval, wilson_interval


def target_factors(
    factors: Int[np.ndarray, "trials factors"],
    action: Int[np.ndarray, " trials"],
    sizes: tuple[int, ...],
    circular: tuple[bool, ...],
) -> tuple[Int[np.ndarray, "trials factors"], Bool[np.ndarray, " trials"]]:
    """The factors after each action, and whether the action is possible.

    Action ``factor + F * (direction < 0)`` adds one step to its factor. A circular factor wraps; a
    step beyond the end of another is impossible, and its row of targets is not meaningful.
    """
    factors, action = np.asarray(factors), np.asarray(action)
    num_factors = len(sizes)
    rows, named = np.arange(len(action)), action % num_factors
    moved = factors[rows, named] + np.where(action < num_factors, 1, -1)
    size, wraps = np.asarray(sizes)[named], np.asarray(circular, bool)[named]
    valid = wraps | ((moved >= 0) & (moved < size))
    target = factors.copy()
    target[rows, named] = moved % size
    return target, valid


def intervention_scores(
    predicted: Int[np.ndarray, "trials factors"],
    factors: Int[np.ndarray, "trials factors"],
    action: Int[np.ndarray, " trials"],
    sizes: tuple[int, ...],
    circular: tuple[bool, ...],
    image: Int[np.ndarray, " trials"] | None = None,
) -> dict[str, Any]:
    """Compare factors read from intervened images with those that the action should give.

    `factors` are the true ones of the starting images; `image` names the starting image of each
    trial, so that trials on one image are not taken for independent ones (default: all differ).
    Impossible actions are not counted.

    ``named_factor_moved``: the named factor is exactly one step on, in the right direction;
    ``other_factors_kept``: mean over the other factors of being what they were;
    ``all_factors_right``: both, for every factor. Perfect interventions score 1 in all three,
    images returned unchanged 0, 1 and 0. Each comes with a 95 % ``..._interval``; ``per_action``
    is a list with the same three and ``count`` (values None where the count is 0), and
    ``kept_per_factor`` has for each factor how often it stayed while another was named.
    Raises ValueError if no trial is possible.
    """
    predicted, factors, action = map(np.asarray, (predicted, factors, action))
    image = np.arange(len(action)) if image is None else np.asarray(image)
    target, valid = target_factors(factors, action, sizes, circular)
    if not valid.any():
        raise ValueError("no action is possible on these images")
    right = (predicted == target)[valid]
    action, cluster = action[valid], np.unique(image[valid], return_inverse=True)[1]
    num_factors = len(sizes)
    named = np.eye(num_factors, dtype=bool)[action % num_factors]
    scores = {
        "named_factor_moved": right[named],
        "other_factors_kept": np.where(named, 0, right).sum(1) / max(num_factors - 1, 1),
        "all_factors_right": right.all(1),
    }
    if num_factors == 1:
        scores["other_factors_kept"] = np.ones(len(action))

    result: dict[str, Any] = {}
    counts = np.bincount(cluster)
    for name, values in scores.items():
        result[name] = float(values.mean())
        sums = np.bincount(cluster, weights=values)
        spread = clustered_interval(sums, counts)
        if spread[0] == spread[1]:  # all right or all wrong: no variance to estimate from
            spread = wilson_interval(sums.sum() / counts.mean(), len(counts))
        result[f"{name}_interval"] = list(spread)
    result["count"] = len(action)
    result["per_action"] = [
        {name: float(values[action == a].mean()) if (action == a).any() else None
         for name, values in scores.items()} | {"count": int((action == a).sum())}
        for a in range(2 * num_factors)
    ]  # fmt: skip
    stayed = [right[~named[:, f], f] for f in range(num_factors)]
    result["kept_per_factor"] = [float(s.mean()) if len(s) else None for s in stayed]
    return result
