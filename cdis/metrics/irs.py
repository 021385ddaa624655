"""IRS: does a dimension stay where it is while all factors but its own change?"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cdis.metrics.arrays import UnsuitableData, check, need_crossed, sample
from cdis.metrics.information import binned


def irs(
    representations: np.ndarray,
    factors: np.ndarray,
    *,
    num_samples: int | None = 10_000,
    num_bins: int = 20,
    quantile: float = 0.99,
    continuous: bool | Sequence[bool] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Interventional robustness score (Suter et al., 2019, arXiv 1811.00007, section 4).

    While factor j keeps one value, dimension i strays from its mean over those rows by at most (by
    the `quantile` of) some distance; averaged over values and divided by the largest distance from
    the overall mean this is how far i strays though j is fixed. Per dimension 1 minus that of the
    factor that holds it best; the score is the mean weighted by largest distances, as in
    disentanglement_lib. The paper takes the maximum: ``quantile=1``. Values in one row only
    are left out.

    Perfect codes score 1, and so do copies of them. Blind to permutation and to one positive factor
    for all dimensions; not to rescaling single ones, whose weight it changes. Constant dimensions
    are left out and listed.

    Args:
      representations: ``[n, d]``.
      factors: ``[n, F]``, crossed; continuous ones are put in `num_bins` bins of equal width.
      num_samples: at most so many rows are drawn; None takes all.
      quantile: of distances within a value, in (0, 1].
      continuous: which factors are quantities; see `cdis.metrics.arrays.check`.

    Returns:
      ``score``, ``per_dimension`` (None where constant), ``best_factor`` of each dimension,
      ``robustness`` ``[d][F]`` (rows of None where constant), ``dead_dimensions``.

    Raises:
      UnsuitableData: see `cdis.metrics.arrays.check`; not crossed; no value of a factor is in
        two rows.
    """
    if not 0 < quantile <= 1:
        raise UnsuitableData(f"The quantile must lie in (0, 1] and is {quantile}.")
    z, y = check(representations, factors, continuous=continuous)
    y = binned(y, num_bins)
    need_crossed(y, "IRS")
    rows = sample(len(z), num_samples, seed)
    z, labels = z[rows], y.labels[rows]
    largest = np.abs(z - z.mean(0)).max(0)
    live = largest > 1e-12 * np.abs(z).max()
    robustness = np.ones((z.shape[1], y.count))
    for factor, label in enumerate(labels.T):
        groups = [z[label == value] for value in np.flatnonzero(np.bincount(label) > 1)]
        if not groups:
            raise UnsuitableData(
                f"No value of factor {factor} is in two rows, so that nothing can vary while it is "
                "fixed. Give more rows."
            )
        strays = [np.quantile(np.abs(group - group.mean(0)), quantile, axis=0) for group in groups]
        robustness[live, factor] -= np.mean(strays, axis=0)[live] / largest[live]
    per_dimension = robustness.max(1)
    return {
        "score": float(np.average(per_dimension[live], weights=largest[live])),
        "per_dimension": [
            float(v) if on else None for v, on in zip(per_dimension, live, strict=True)
        ],
        "best_factor": robustness.argmax(1).tolist(),
        "robustness": [
            row.tolist() if on else [None] * y.count
            for row, on in zip(robustness, live, strict=True)
        ],
        "dead_dimensions": np.flatnonzero(~live).tolist(),
        "num_samples": len(rows),
    }
