"""Mutual information of all dimensions and all factors at once, by histograms.

One pass of counting for each pair is the fastest form on a CPU that was measured: a product of
one-hot matrices under `jax.jit` took five times as long.
"""

from collections.abc import Iterable

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
        position = (column - low) * (bins / (high - low))
        code[:] = position  # rounded down
        np.minimum(code, bins - 1, out=code)
        # Rounding may have put a value that lies on an inner edge into the bin beside its own.
        nearest = np.rint(position)
        rounding = 8 * np.finfo(float).eps * bins * (1 + max(abs(low), abs(high)) / (high - low))
        doubtful = np.flatnonzero(np.abs(position - nearest) < rounding)
        doubtful = doubtful[(nearest[doubtful] > 0) & (nearest[doubtful] < bins)]
        if len(doubtful):
            edges, guess, column = (
                np.linspace(low, high, bins + 1),
                code[doubtful],
                column[doubtful],
            )
            guess -= column < edges[guess]
            guess += column >= np.append(edges[1:-1], np.inf)[guess]
            code[doubtful] = guess
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
    joint = _sums_of_logs(
        np.bincount(cells) for code in codes for cells in code * sizes[:, None] + labels
    ).reshape(len(codes), len(labels))
    by_code = _sums_of_logs(np.bincount(code) for code in codes)
    by_label = _sums_of_logs(np.bincount(label) for label in labels)
    n = codes.shape[1]
    return np.maximum(np.log(n) + (joint - by_code[:, None] - by_label) / n, 0)


def entropies(labels: Int[np.ndarray, "n f"]) -> Float[np.ndarray, " f"]:
    """Entropy of every column's labels, in nats."""
    n = len(labels)
    return np.log(n) - _sums_of_logs(np.bincount(column) for column in labels.T) / n


def _sums_of_logs(tables: Iterable[Int[np.ndarray, " cells"]]) -> Float[np.ndarray, " tables"]:
    """Sum of k log k over the counts of each table; the logarithms of all at once."""
    tables = list(tables)
    counts = np.concatenate(tables)
    starts = np.cumsum([0, *map(len, tables[:-1])])
    return np.add.reduceat(counts * np.log(np.maximum(counts, 1)), starts)
