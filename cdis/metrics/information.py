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
        edges = np.linspace(low, high, bins + 1)
        guess = ((np.clip(column, low, high) - low) * (bins / (high - low))).astype(np.intp)
        np.minimum(guess, bins - 1, out=guess)
        # Rounding may have put a value that lies on an edge into the bin beside its own.
        guess -= (column < edges[guess]) & (guess > 0)
        guess += (column >= edges[guess + 1]) & (guess < bins - 1)
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
    result = np.empty((len(codes), len(labels)))
    for i, code in enumerate(codes):
        names = int(code.max()) + 1
        for j, (label, size) in enumerate(zip(labels, sizes, strict=True)):
            counts = np.bincount(code * size + label, minlength=names * size)
            joint = counts.reshape(names, size) / code.size
            marginals = _entropy(joint.sum(1)) + _entropy(joint.sum(0))
            result[i, j] = marginals - _entropy(joint.ravel())
    return np.maximum(result, 0)


def entropies(labels: Int[np.ndarray, "n f"]) -> Float[np.ndarray, " f"]:
    """Entropy of every column's labels, in nats."""
    return np.array([_entropy(np.bincount(column) / len(labels)) for column in labels.T])


def _entropy(shares: np.ndarray) -> float:
    """0 log 0 = 0."""
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())
