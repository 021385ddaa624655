"""Action retrieval: which action lies between two images? (arXiv 2302.00869, section 5)."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from cdis.metrics.intervals import wilson_interval


def action_retrieval(
    probabilities: Float[np.ndarray, "pairs actions"],
    action: Int[np.ndarray, " pairs"],
    num_factors: int,
) -> dict[str, Any]:
    """Accuracy of the most probable action.

    *Directed* accuracy counts the action itself, *undirected* accuracy only its factor, in either
    direction. Perfect probabilities score 1 in both. A constant prediction has the directed
    accuracy of that action's frequency, about ``1 / (2 num_factors)``.

    Args:
      probabilities: ``[pairs, 2 num_factors]``.
      action: ``[pairs]``, the true actions, numbered as in `cdis.ops.actions`.
      num_factors: F.

    Returns:
      Values fit for JSON: ``directed``, ``undirected``, their 95 % Wilson intervals
      (``directed_interval``, ``undirected_interval``), ``chance_directed``, ``chance_undirected``,
      ``num_pairs``, ``per_action`` (directed accuracy; None for an action that never occurs),
      ``per_action_undirected``, ``per_action_count`` and ``confusion`` (counts; rows are true
      actions).

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
    confusion = confusion.reshape(num_actions, num_actions)
    count = confusion.sum(1)
    each = np.arange(num_actions)
    right = confusion[each, each]
    right_factor = right + confusion[each, (each + num_factors) % num_actions]

    def shares(hits: np.ndarray) -> list[float | None]:
        return [float(h / c) if c else None for h, c in zip(hits, count, strict=True)]

    return {
        "directed": float(right.sum() / len(action)),
        "directed_interval": list(wilson_interval(right.sum(), len(action))),
        "undirected": float(right_factor.sum() / len(action)),
        "undirected_interval": list(wilson_interval(right_factor.sum(), len(action))),
        "chance_directed": 1 / num_actions,
        "chance_undirected": 1 / num_factors,
        "num_pairs": len(action),
        "per_action": shares(right),
        "per_action_undirected": shares(right_factor),
        "per_action_count": count.tolist(),
        "confusion": confusion.tolist(),
    }
