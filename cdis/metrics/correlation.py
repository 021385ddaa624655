"""MCC: correlation of dimensions and factors under the best one-to-one assignment."""

from typing import Any

import numpy as np

from cdis.metrics.arrays import check, need_preset, need_rows, sample, standardised

#: name -> one line of help
PRESETS = {"pearson": "linear", "spearman": "of ranks"}


def mcc(
    representations: np.ndarray,
    factors: np.ndarray,
    *,
    preset: str = "pearson",
    num_samples: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Mean correlation coefficient (Hyvärinen and Morioka, 2016, arXiv 1605.06336, section 6).

    The mean over factors of the absolute correlation with the assigned dimension, for the
    one-to-one assignment of dimensions to factors that maximises it; a factor without a dimension
    counts as 0. Discrete factors are treated as numbers. "spearman" correlates ranks, so it
    captures any monotonic relation.

    Perfect codes score 1. Invariant to permutation and to rescaling of either sign; "spearman" also
    to increasing functions of each dimension. Constant dimensions have correlation 0.

    Args:
      representations: ``[n, d]``.
      factors: ``[n, F]``.
      preset: "pearson" or "spearman".
      num_samples: use at most this many rows, sampled at random; None uses all.

    Returns:
      ``score``, ``per_factor``, ``assigned_dimension`` of each factor (None if it has none),
      signed ``correlation`` ``[d][F]``, ``dead_dimensions`` (constant ones), ``preset``,
      ``num_samples``.

    Raises:
      UnsuitableData: see `cdis.metrics.arrays.check`; fewer than three rows.
      UserError: no such preset.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.stats import rankdata

    need_preset(preset, PRESETS, "MCC")
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
