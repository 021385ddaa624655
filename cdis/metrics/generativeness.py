"""Interventional robustness and generativeness: factors under extreme values of one latent."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from cdis.metrics.arrays import UnsuitableData
from cdis.ops.adjacency import reachable


def extreme_interventions(
    latents: Float[np.ndarray, "n d"],
    generate: Callable[[Float[np.ndarray, "n d"], int], Any],
    predict: Callable[[Any], Float[np.ndarray, "n f"]],
) -> tuple[Float[np.ndarray, "d n f"], Float[np.ndarray, "d n f"]]:
    """Predicted factors with each latent set to its smallest and to its largest value.

    Args:
      latents: ``[n, d]``.
      generate: (latents with dimension i set, i) -> images, or other input of `predict`. A causal
        method propagates the intervention to the descendants of i here.
      predict: a fixed predictor trained on real samples only; returns probabilities, or values
        scaled to [0, 1], ``[n, F]``.

    Returns:
      Predictions ``[d, n, F]`` at the smallest and at the largest value of each latent.
    """
    low, high = [], []
    for dimension in range(latents.shape[1]):
        for results, value in (
            (low, latents[:, dimension].min()),
            (high, latents[:, dimension].max()),
        ):
            changed = latents.copy()
            changed[:, dimension] = value
            results.append(np.asarray(predict(generate(changed, dimension))))
    return np.stack(low), np.stack(high)


def interventional_scores(
    low: Float[np.ndarray, "d n f"],
    high: Float[np.ndarray, "d n f"],
    adjacency: np.ndarray,
) -> dict[str, Any]:
    """Interventional robustness and counterfactual generativeness (An et al., CDG-VAE, ECAI 2023).

    Latent i represents factor i. The shift (i, j) is the change of predicted factor j when latent i
    moves from its smallest to its largest value: *lower* is the absolute mean change over samples,
    in which opposite changes cancel, *upper* the mean absolute change. They are the paper's bounds
    on its causal disentanglement metric.

        interventional robustness = 1 - mean shift of factors other than i and its descendants
        counterfactual generativeness = mean shift of factor i and of its children

    The paper shows the shifts; averaging them, and taking 1 minus the mean so that higher is
    better, is ours. Perfect latents with predictions that reach both 0 and 1 score 1 in robustness
    and in own generativeness; child generativeness depends on how far the children move.

    Args:
      low: ``[F, n, F]``; ``low[i]`` are the predicted factors, in [0, 1], with latent i at its
        smallest value.
      high: the same at its largest value; see `extreme_interventions`.
      adjacency: ``[F, F]`` of 0 and 1, the true acyclic graph; [i, j] is the edge into i from j.

    Returns:
      ``robustness`` (None if no pair (i, j) counts), ``own_generativeness``,
      ``child_generativeness`` (None without edges), all from upper shifts; ``shift_upper`` and
      ``shift_lower`` ``[latent][factor]``; ``per_latent_robustness`` (None where no factor counts).

    Raises:
      UnsuitableData: shapes that do not match; values that are not finite or outside [0, 1]; a
        graph with a cycle.
    """
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    graph = np.asarray(adjacency)
    if low.ndim != 3 or low.shape != high.shape or low.shape[1] == 0:
        raise UnsuitableData(
            "Predictions at the two extremes must both be [latents, samples, factors]; they are "
            f"{list(low.shape)} and {list(high.shape)}."
        )
    latents, _, factors = low.shape
    if latents != factors or graph.shape != (factors, factors) or not np.isin(graph, (0, 1)).all():
        raise UnsuitableData(
            "There must be one latent per factor, and the graph must be a square matrix of 0 and 1 "
            f"over the factors; there are {latents} latents, {factors} factors and a graph of "
            f"shape {list(graph.shape)}."
        )
    for values in (low, high):
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise UnsuitableData("Predicted factors must be finite and in [0, 1].")
    change = high - low
    upper, lower = np.abs(change).mean(1), np.abs(change.mean(1))
    descends = reachable(graph).T  # [latent, factor]: is the factor a descendant of the latent's?
    own = np.eye(factors, dtype=bool)
    apart = ~descends & ~own
    if (descends & own).any():
        raise UnsuitableData("The graph has a cycle; these scores need an acyclic graph.")
    children = graph.astype(bool).T
    return {
        "robustness": float(1 - upper[apart].mean()) if apart.any() else None,
        "own_generativeness": float(upper[own].mean()),
        "child_generativeness": float(upper[children].mean()) if children.any() else None,
        "shift_upper": upper.tolist(),
        "shift_lower": lower.tolist(),
        "per_latent_robustness": [
            float(1 - shifts[rest].mean()) if rest.any() else None
            for shifts, rest in zip(upper, apart, strict=True)
        ],
    }
