"""Confidence intervals of proportions and means."""

import numpy as np
from jaxtyping import Float

#: Two-sided 95 % quantile of the standard normal distribution.
Z_95 = 1.959964


def wilson_interval(successes: float, trials: int) -> tuple[float, float]:
    """95 % interval of a proportion of independent trials (Wilson, 1927, equation 4).

    It stays inside [0, 1] and is valid at proportions of 0 and 1 too, where the usual normal
    interval has no width. Without trials it is (0, 1).
    """
    if trials == 0:
        return 0.0, 1.0
    share, scale = successes / trials, Z_95**2 / trials
    centre = (share + scale / 2) / (1 + scale)
    half = np.sqrt(share * (1 - share) * scale + scale**2 / 4) / (1 + scale)
    return float(max(centre - half, 0.0)), float(min(centre + half, 1.0))


def clustered_interval(
    sums: Float[np.ndarray, " clusters"], counts: Float[np.ndarray, " clusters"]
) -> tuple[float, float]:
    """95 % interval of sum(sums) / sum(counts) when trials come in independent clusters.

    For example, ten actions on one image are not ten independent trials: the image is the cluster.
    Linearised ratio estimator (Cochran, Sampling Techniques, 1977, section 6.4). With fewer than
    two non-empty clusters it is (0, 1).

    Args:
      sums: successes in each cluster.
      counts: trials in each cluster.
    """
    sums, counts = np.asarray(sums, np.float64), np.asarray(counts, np.float64)
    sums, counts = sums[counts > 0], counts[counts > 0]
    clusters = len(counts)
    if clusters < 2:
        return 0.0, 1.0
    share = sums.sum() / counts.sum()
    residual = (sums - share * counts) / counts.mean()
    half = Z_95 * np.sqrt((residual**2).sum() / (clusters - 1) / clusters)
    return float(max(share - half, 0.0)), float(min(share + half, 1.0))


def mean_interval(values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """95 % interval of the mean of n >= 2 independent measurements, by Student's t."""
    from scipy.stats import t

    values = np.asarray(values, np.float64)
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)
