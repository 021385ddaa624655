"""Mutual information of all dimensions and all factors at once, by histograms.

One pass of counting for each pair is the fastest form on a CPU that was measured: a product of
one-hot matrices under `jax.jit` took five times as long.
"""

import numpy as np
from jaxtyping import Float, Int

from cdis.metrics.arrays import Factors


def equal_width_bins(
    values: Float[np.ndarray, "n d"],
    bins: int,
    limits: tuple[float, float] | None = None,
) -> Int[np.ndarray, "n d"]:
    """The bin, 0..bins - 1, of every value; each column has its own range unless `limits` say.

    Bins are those of ``numpy.histogram``: half open, but for the last. Values beyond the limits
    fall into the outermost bins. All of a constant column is in bin 0.
    """
    result = np.empty((values.shape[1], len(values)), np.intp)
    for code, column in zip(result, np.ascontiguousarray(values.T), strict=True):
        low, high = limits or (column.min(), column.max())
        if low == high:
            code[:] = 0
            continue
        if limits is not None:
            column = np.clip(column, low, high)
        edges = np.linspace(low, high, bins + 1)
        guess = ((column - low) * (bins / (high - low))).astype(np.intp)
        np.minimum(guess, bins - 1, out=guess)
        # Rounding may have put a value that lies on an edge into the bin beside its own.
        guess -= column < edges[guess]
        guess += column >= np.append(edges[1:-1], np.inf)[guess]
        code[:] = guess
    return result.T


def binned(factors: Factors, bins: int) -> Factors:
    """All factors discrete: continuous ones in `bins` bins of equal width, less the empty ones."""
    if not factors.continuous.any():
        return factors
    labels, sizes = factors.labels.copy(), factors.sizes.copy()
    codes = equal_width_bins(factors.values, bins)
    for factor in np.flatnonzero(factors.continuous):
        used, labels[:, factor] = np.unique(codes[:, factor], return_inverse=True)
        sizes[factor] = len(used)
    return Factors(factors.values, labels, sizes, np.zeros_like(factors.continuous))


def mutual_information(
    codes: Int[np.ndarray, "n d"], labels: Int[np.ndarray, "n f"], sizes: Int[np.ndarray, " f"]
) -> Float[np.ndarray, "d f"]:
    """Plug-in estimate, in nats, of every dimension's code and every factor's label.

    Codes are 0, 1, ...; labels of factor j are below ``sizes[j]``. The estimate is never negative
    and is too large by about (cells - codes - labels + 1) / (2 n).
    """
    codes, labels = np.ascontiguousarray(codes.T), np.ascontiguousarray(labels.T)
    joint = np.empty((len(codes), len(labels)))
    for i, code in enumerate(codes):
        for j, (label, size) in enumerate(zip(labels, sizes, strict=True)):
            joint[i, j] = _sum_of_logs(np.bincount(code * size + label))
    by_code = np.array([_sum_of_logs(np.bincount(code)) for code in codes])
    by_label = np.array([_sum_of_logs(np.bincount(label)) for label in labels])
    n = codes.shape[1]
    return np.maximum(np.log(n) + (joint - by_code[:, None] - by_label) / n, 0)


def entropies(labels: Int[np.ndarray, "n f"]) -> Float[np.ndarray, " f"]:
    """Entropy of every column's labels, in nats."""
    n = len(labels)
    return np.array([np.log(n) - _sum_of_logs(np.bincount(column)) / n for column in labels.T])


def _sum_of_logs(counts: Int[np.ndarray, " cells"]) -> float:
    """Sum of k log k."""
    return float(counts @ np.log(np.maximum(counts, 1)))
