"""What setting one latent to its extremes does to the factors that are seen afterwards."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from cdis.metrics.arrays import UnsuitableData
from cdis.metrics.graphs import reachable


def extreme_interventions(
    latents: Float[np.ndarray, "n d"],
    generate: Callable[[Float[np.ndarray, "n d"], int], Any],
    predict: Callable[[Any], Float[np.ndarray, "n f"]],
) -> tuple[Float[np.ndarray, "d n f"], Float[np.ndarray, "d n f"]]:
    """Predicted factors with each latent set to its smallest and to its largest value.

    Args:
      latents: of n samples.
      generate: (latents with dimension i set, i) -> images or whatever `predict` reads; a causal
        method propagates the intervention to i's descendants here.
      predict: a fixed predictor, trained on real samples alone; probabilities or scaled values.
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

    Latent i stands for factor i. The shift (i, j) is how far the predicted factor j moves when
    latent i goes from its smallest to its largest value; *lower* is the size of the mean over
    samples, in which opposite moves cancel, *upper* the mean size. Both are the paper's bounds of
    its causal disentanglement metric.

        interventional robustness = 1 - mean shift of factors that do not descend from i
        counterfactual generativeness = mean shift of factor i itself and of its children

    The paper shows the shifts; the two means, and 1 minus, are ours so that more is better. Perfect
    latents with predictions in [0, 1] that reach both ends score 1 in robustness, and in
    generativeness as far as the children follow.

    Args:
      low: predicted factors, in [0, 1], with latent i at its smallest: ``low[i]`` is [n, F].
      high: at its largest; see `extreme_interventions`.
      adjacency: ``[F, F]`` of 0 and 1, the true edge into i from j, acyclic.

    Returns:
      ``robustness`` (None if every factor descends from every other), ``own_generativeness``,
      ``child_generativeness`` (None without edges), from upper shifts; ``shift_upper`` and
      ``shift_lower`` ``[latent][factor]``; ``per_latent_robustness`` (None where all descend).

    Raises:
      UnsuitableData: shapes that do not fit, values that are not finite or outside [0, 1].
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
            "Latent i must stand for factor i, and the graph be a matrix of 0 and 1 over factors; "
            f"there are {latents} latents, {factors} factors, a graph {list(graph.shape)}."
        )
    for values in (low, high):
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise UnsuitableData("Predicted factors must be finite and in [0, 1].")
    change = high - low
    upper, lower = np.abs(change).mean(1), np.abs(change.mean(1))
    descends = reachable(graph.astype(bool)).T  # [latent, factor]: does the factor descend from it?
    own = np.eye(factors, dtype=bool)
    apart = ~descends & ~own
    if (descends & own).any():
        raise UnsuitableData("The graph has a cycle; effects are defined for acyclic graphs.")
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
