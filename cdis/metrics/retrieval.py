"""Action retrieval: which action lies between two images? (arXiv 2302.00869, section 5)."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from cdis.metrics.intervals import wilson_interval
from cdis.ops.actions import opposite


def action_retrieval(
    probabilities: Float[np.ndarray, "pairs actions"],
    action: Int[np.ndarray, " pairs"],
    num_factors: int,
) -> dict[str, Any]:
    """Accuracy of the most probable action.

    Args:
      probabilities: ``[pairs, 2 num_factors]``.
      action: ``[pairs]``, the true actions, numbered as in `cdis.ops.actions`.
      num_factors: F.

    Returns:
      What `retrieval_scores` returns.

    Raises:
      ValueError: probabilities that are not finite, wrong shapes, unknown actions, no pairs.
    """
    probabilities, action = np.asarray(probabilities), np.asarray(action)
    num_actions = 2 * num_factors
    if probabilities.shape != (len(action), num_actions):
        raise ValueError(
            f"probabilities {probabilities.shape} must be [{len(action)}, {num_actions}]"
        )
    if len(action) == 0:
        raise ValueError("there are no pairs to retrieve actions of")
    if not np.isfinite(probabilities).all():
        raise ValueError("some probabilities are not finite")
    if action.min() < 0 or action.max() >= num_actions:
        raise ValueError(f"actions must lie in 0..{num_actions - 1}")

    answer = probabilities.argmax(1)
    confusion = np.bincount(action * num_actions + answer, minlength=num_actions**2)
    return retrieval_scores(confusion.reshape(num_actions, num_actions), num_factors)


def retrieval_scores(
    confusion: Int[np.ndarray, "actions actions"], num_factors: int
) -> dict[str, Any]:
    """Accuracy of retrieved actions, from counts of pairs by true action (rows) and answer.

    *Directed* accuracy counts the action itself, *undirected* accuracy only its factor, in either
    direction. Perfect answers score 1 in both. A constant answer has the directed accuracy of that
    action's frequency, about ``1 / (2 num_factors)``. Actions are numbered as in
    `cdis.ops.actions`.

    Returns:
      Values fit for JSON: ``directed``, ``undirected``, their 95 % Wilson intervals
      (``directed_interval``, ``undirected_interval``), ``chance_directed``, ``chance_undirected``,
      ``num_pairs``, ``per_action`` (directed accuracy; None for an action that never occurs),
      ``per_action_undirected``, ``per_action_count`` and ``confusion`` (counts; rows are true
      actions).
    """
    count, num_pairs, num_actions = confusion.sum(1), int(confusion.sum()), 2 * num_factors
    each = np.arange(num_actions)
    right = confusion[each, each]
    right_factor = right + confusion[each, opposite(each, num_factors)]

    def shares(hits: np.ndarray) -> list[float | None]:
        return [float(h / c) if c else None for h, c in zip(hits, count, strict=True)]

    return {
        "directed": float(right.sum() / num_pairs),
        "directed_interval": list(wilson_interval(right.sum(), num_pairs)),
        "undirected": float(right_factor.sum() / num_pairs),
        "undirected_interval": list(wilson_interval(right_factor.sum(), num_pairs)),
        "chance_directed": 1 / num_actions,
        "chance_undirected": 1 / num_factors,
        "num_pairs": num_pairs,
        "per_action": shares(right),
        "per_action_undirected": shares(right_factor),
        "per_action_count": count.tolist(),
        "confusion": confusion.tolist(),
    }


def steps_scores(counts: Int[np.ndarray, "steps 2"]) -> dict[str, Any]:
    """How often all steps between two images were retrieved.

    Args:
      counts: by number of true steps, from 0: the number of pairs, and of those whose retrieved
        steps of every factor are the true ones.

    Returns:
      Values fit for JSON: ``exact``, its 95 % Wilson ``exact_interval``, ``num_pairs`` and
      ``by_number``, the counts.
    """
    num_pairs, right = counts.sum(0).tolist()
    return {
        "exact": right / num_pairs,
        "exact_interval": list(wilson_interval(right, num_pairs)),
        "num_pairs": num_pairs,
        "by_number": counts.tolist(),
    }
