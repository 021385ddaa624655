"""MIG and its relatives: gaps in mutual information between the best and the second best.

All are invariant to permutation of the dimensions and to positive rescaling of each.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cdis.metrics.arrays import Factors, check, need_every_value, need_rows, sample, standardised
from cdis.metrics.information import (
    binned,
    entropies,
    equal_width_bins,
    mutual_information,
)

#: The range, in standard deviations, and the bins of RMIG.
_ROBUST_LIMITS = (-4.0, 4.0)
_ROBUST_BINS = 100


def mig(
    representations: np.ndarray,
    factors: np.ndarray,
    *,
    num_bins: int = 20,
    num_samples: int | None = 10_000,
    continuous: bool | Sequence[bool] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Mutual information gap (Chen et al., 2018, arXiv 1802.04942, equation 6).

    Mean over factors of (I(best dimension) - I(second-best dimension)) / H(factor), with dimensions
    and continuous factors in bins of equal width, as in disentanglement_lib.

    Perfect codes score below 1 where a factor has more values than there are bins, since values
    then share bins: about 0.90 for the factor sizes of dSprites, 0.995 for those of Shapes3D.
    Duplicating a dimension makes its factor's gap 0. A single outlier stretches the range and can
    empty most bins; see `rmig`.

    Args:
      representations: ``[n, d]``, d at least 2.
      factors: ``[n, F]``.
      num_bins: of equal width, between the smallest and largest value of each dimension.
      num_samples: use at most this many rows, sampled at random; None uses all.
      continuous: which factors are continuous; see `cdis.metrics.arrays.check`.

    Returns:
      ``score``; ``per_factor`` gaps; ``best_dimension`` and ``second_dimension`` of each factor;
      ``mutual_information`` ``[d][F]`` and ``factor_entropy`` ``[F]`` in nats; ``num_samples``.

    Raises:
      UnsuitableData: see `cdis.metrics.arrays.check`.
    """
    z, y = _prepared(representations, factors, continuous, num_bins, num_samples, seed)
    return _gap(equal_width_bins(z, num_bins), y, num_bins)


def rmig(
    representations: np.ndarray,
    factors: np.ndarray,
    *,
    num_bins: int = _ROBUST_BINS,
    num_samples: int | None = 10_000,
    continuous: bool | Sequence[bool] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Robust mutual information gap (Do and Tran, 2020, arXiv 1908.09961, section 3.3).

    The gap of `mig` over a fixed range: each dimension is standardised and divided into bins of
    equal width between -4 and 4 standard deviations, so that outliers cannot stretch the bins. The
    paper integrates over q(z | x); an array of codes has no such distribution, so a histogram of
    the codes replaces it. ``gap`` is the paper's difference in nats; ``score`` is the mean of the
    gaps after division by H(factor), which makes factors comparable.

    Perfect codes score 1, unless neighbouring values of a factor share a bin (0.08 standard
    deviations). Arguments, results and errors are those of `mig`; the results also have ``gap`` for
    each factor.
    """
    z, y = _prepared(representations, factors, continuous, num_bins, num_samples, seed)
    result = _gap(equal_width_bins(standardised(z), num_bins, _ROBUST_LIMITS), y, num_bins)
    gaps = np.array(result["per_factor"]) * result["factor_entropy"]
    return result | {"gap": gaps.tolist()}


def dcimig(
    representations: np.ndarray,
    factors: np.ndarray,
    *,
    num_bins: int = 20,
    num_samples: int | None = 10_000,
    continuous: bool | Sequence[bool] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """DCIMIG (Sepliarskaia et al., 2019, arXiv 1910.05587, section 4).

    The gap of a dimension is its mutual information with its best factor minus that with its
    second-best factor. Each factor keeps the largest gap of the dimensions for which it is best;
    the score is the sum of the kept gaps / sum of H(factor).

    Perfect codes score as with `mig` if factors are independent, minus a little spurious
    information about the second factor. Needs at least two factors; duplicated dimensions do not
    lower it. Arguments and errors are those of `mig`.

    Returns:
      ``score``; ``per_factor`` kept gap / H(factor); ``per_dimension`` gap in nats;
      ``best_factor`` of each dimension; ``mutual_information`` ``[d][F]`` and ``factor_entropy``
      ``[F]`` in nats; ``num_samples``.
    """
    z, y = _prepared(representations, factors, continuous, num_bins, num_samples, seed, 1, 2)
    y = binned(y, num_bins)
    information = mutual_information(equal_width_bins(z, num_bins), y.labels, y.sizes)
    entropy = entropies(y.labels)
    best = information.argmax(1)
    ordered = np.sort(information, axis=1)
    gap = ordered[:, -1] - ordered[:, -2]
    kept = np.zeros(len(entropy))
    np.maximum.at(kept, best, gap)
    return {
        "score": float(kept.sum() / entropy.sum()),
        "per_factor": (kept / entropy).tolist(),
        "per_dimension": gap.tolist(),
        "best_factor": best.tolist(),
        "mutual_information": information.tolist(),
        "factor_entropy": entropy.tolist(),
        "num_samples": len(z),
    }


def _prepared(
    representations: np.ndarray,
    factors: np.ndarray,
    continuous: bool | Sequence[bool] | None,
    num_bins: int,
    num_samples: int | None,
    seed: int,
    min_dimensions: int = 2,
    min_factors: int = 1,
) -> tuple[np.ndarray, Factors]:
    z, y = check(
        representations,
        factors,
        continuous=continuous,
        min_dimensions=min_dimensions,
        min_factors=min_factors,
    )
    need_rows(len(z), 2 * num_bins, f"A histogram of {num_bins} bins")
    rows = sample(len(z), num_samples, seed)
    if len(rows) == len(z):
        return z, y
    need_every_value(y, rows, 0, "The gap")
    return z[rows], y.take(rows)


def _gap(codes: np.ndarray, y: Factors, num_bins: int) -> dict[str, Any]:
    y = binned(y, num_bins)
    information = mutual_information(codes, y.labels, y.sizes)
    entropy = entropies(y.labels)
    order = np.argsort(-information, axis=0, kind="stable")
    ordered = np.take_along_axis(information, order, 0)
    gaps = (ordered[0] - ordered[1]) / entropy
    return {
        "score": float(gaps.mean()),
        "per_factor": gaps.tolist(),
        "best_dimension": order[0].tolist(),
        "second_dimension": order[1].tolist(),
        "mutual_information": information.tolist(),
        "factor_entropy": entropy.tolist(),
        "num_samples": len(codes),
    }
