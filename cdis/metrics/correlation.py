"""MCC: how far dimensions and factors can be paired by correlation."""

from typing import Any

import numpy as np

from cdis.errors import UserError
from cdis.metrics.arrays import check, need_rows, sample, standardised

PRESETS = ("pearson", "spearman")


def mcc(
    representations: np.ndarray,
    factors: np.ndarray,
    *,
    preset: str = "pearson",
    num_samples: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Mean correlation coefficient (Hyvärinen and Morioka, 2016, arXiv 1605.06336, section 6).

    The absolute correlations of dimensions and factors are summed along the one-to-one assignment
    that makes the sum largest, and divided by the number of factors; a factor that is left without
    a dimension counts 0. Values of discrete factors count as quantities. "spearman" correlates
    ranks, and so sees any monotone relation.

    Perfect codes score 1. Blind to permutation and to rescaling, of either sign; "spearman" also to
    increasing functions of each dimension. Constant dimensions correlate with nothing.

    Args:
      representations: ``[n, d]``.
      factors: ``[n, F]``.
      preset: "pearson" or "spearman".
      num_samples: at most so many rows are drawn; None takes all.

    Returns:
      ``score``, ``per_factor``, ``assigned_dimension`` of each factor (None if left without),
      ``correlation`` ``[d][F]`` with its signs, ``dead_dimensions``, ``preset``.

    Raises:
      UnsuitableData: see `cdis.metrics.arrays.check`; fewer than three rows.
      UserError: no such preset.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.stats import rankdata

    if preset not in PRESETS:
        raise UserError(f"MCC has no preset {preset!r}, but {', '.join(PRESETS)}.")
    z, y = check(representations, factors, continuous=True)
    need_rows(len(z), 3, "MCC")
    rows = sample(len(z), num_samples, seed)
    z, values = z[rows], y.values[rows]
    if preset == "spearman":
        z, values = rankdata(z, axis=0), rankdata(values, axis=0)
    correlation = standardised(z).T @ standardised(values) / len(z)
    dimensions, assigned = linear_sum_assignment(np.abs(correlation), maximize=True)
    per_factor = np.zeros(y.count)
    per_factor[assigned] = np.abs(correlation[dimensions, assigned])
    chosen: list[int | None] = [None] * y.count
    for dimension, factor in zip(dimensions.tolist(), assigned.tolist(), strict=True):
        chosen[factor] = dimension
    return {
        "score": float(per_factor.mean()),
        "per_factor": per_factor.tolist(),
        "assigned_dimension": chosen,
        "correlation": correlation.tolist(),
        "dead_dimensions": np.flatnonzero(np.ptp(z, axis=0) == 0).tolist(),
        "preset": preset,
        "num_samples": len(rows),
    }
