"""IRS: does a dimension stay constant while all factors but its own change?"""

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

    Fix factor j at one value. The deviation of dimension i is the `quantile` of its absolute
    distances from its mean over those rows; it is averaged over the values of j and divided by the
    largest distance of i from its overall mean. The robustness of i to changes other than in j is 1
    minus that. Each dimension scores its robustness for its best factor; the score is the mean
    over dimensions weighted by their largest distances, as in disentanglement_lib. The paper uses
    the maximum in place of a quantile: ``quantile=1``. Values that occur only once are left out.

    Perfect codes score 1, and so do copies of them. Invariant to permutation and to rescaling all
    dimensions together, but not to rescaling one, which changes its weight. Constant dimensions
    are left out and listed.

    Args:
      representations: ``[n, d]``.
      factors: ``[n, F]``, crossed.
      num_samples: use at most this many rows, sampled at random; None uses all.
      num_bins: bins of equal width for continuous factors.
      quantile: of the distances at one value, in (0, 1].
      continuous: which factors are continuous; see `cdis.metrics.arrays.check`.

    Returns:
      ``score``, ``per_dimension`` (None where constant), ``best_factor`` of each dimension,
      ``robustness`` ``[d][F]`` (rows of None where constant), ``dead_dimensions`` (constant ones),
      ``num_samples``.

    Raises:
      UnsuitableData: see `cdis.metrics.arrays.check`; not crossed; no value of a factor occurs
        twice; the quantile is out of range.
    """
    if not 0 < quantile <= 1:
        raise UnsuitableData(f"`quantile` must lie in (0, 1], but is {quantile}.")
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
                f"No value of factor {factor} occurs in two rows, so nothing can vary while it is "
                "fixed. Give more rows."
            )
        deviations = [
            np.quantile(np.abs(group - group.mean(0)), quantile, axis=0) for group in groups
        ]
        robustness[live, factor] -= np.mean(deviations, axis=0)[live] / largest[live]
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
