"""MIC and TIC: mutual information of two variables on the best grids (MINE)."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from cdis.metrics.arrays import UnsuitableData, check, need_rows, sample

_ALPHA, _CLUMPS = 0.6, 15.0


class Characteristic(NamedTuple):
    """The characteristic matrix of two variables."""

    #: ``[x - 2, y - 2]``: normalised mutual information on the best grid of x columns and y rows;
    #: NaN where x y > B(n)
    matrix: Float[np.ndarray, "x y"]

    @property
    def mic(self) -> float:
        """Maximal information coefficient: the largest entry."""
        return float(np.nanmax(self.matrix))

    @property
    def tic(self) -> float:
        """Total information coefficient: the sum of all entries."""
        return float(np.nansum(self.matrix))

    @property
    def tic_normalised(self) -> float:
        """The mean of all entries, in [0, 1]."""
        return float(np.nanmean(self.matrix))


def mic(
    representations: np.ndarray,
    factors: np.ndarray,
    *,
    alpha: float = _ALPHA,
    clumps: float = _CLUMPS,
    num_samples: int | None = 1_000,
    seed: int = 0,
) -> dict[str, Any]:
    """MIC and TIC of every dimension with every factor (Reshef et al., 2011, Science 334).

    As reported by CausalVAE, DEAR and CauF-VAE: the mean over factors of the coefficient with the
    assigned dimension, for the best one-to-one assignment of dimensions to factors (a factor
    without a dimension counts as 0). Discrete factors are treated as numbers.

    Perfect codes have a MIC of 1, unless one value is so frequent that no grid is balanced (a
    binary factor scores its entropy in bits). Their TIC is below 1, since it averages over all
    grids, coarse and unbalanced ones included. Invariant to permutation and to increasing functions
    of each dimension.

    Running time grows at least as n^1.8, so only 1,000 rows are used by default.

    Args:
      representations: ``[n, d]``.
      factors: ``[n, F]``.
      alpha: grids have at most n^alpha cells.
      clumps: the edges of x columns are chosen among at most `clumps` x candidates.
      num_samples: use at most this many rows, sampled at random; None uses all.

    Returns:
      ``mic``, ``tic`` (normalised), each with ``..._per_factor`` and ``..._matrix`` ``[d][F]``;
      ``num_samples``.

    Raises:
      UnsuitableData: see `cdis.metrics.arrays.check`; fewer than 20 rows.
    """
    from scipy.optimize import linear_sum_assignment

    z, y = check(representations, factors, continuous=True)
    need_rows(len(z), 20, "MIC")
    rows = sample(len(z), num_samples, seed)
    columns = [_Variable(column) for column in z[rows].T]
    targets = [_Variable(column) for column in y.values[rows].T]
    matrices = {"mic": np.zeros((len(columns), y.count)), "tic": np.zeros((len(columns), y.count))}
    for i, column in enumerate(columns):
        for j, target in enumerate(targets):
            found = _coefficients(column, target, alpha, clumps)
            matrices["mic"][i, j], matrices["tic"][i, j] = found
    result: dict[str, Any] = {}
    for name, matrix in matrices.items():
        per_factor = np.zeros(y.count)
        dimensions, assigned = linear_sum_assignment(matrix, maximize=True)
        per_factor[assigned] = matrix[dimensions, assigned]
        result[name] = float(per_factor.mean())
        result[f"{name}_per_factor"] = per_factor.tolist()
        result[f"{name}_matrix"] = matrix.tolist()
    return result | {"num_samples": len(rows)}


def mic_of_pairs(
    latents: Float[np.ndarray, "n f"],
    values: Float[np.ndarray, "n f"],
    *,
    num_samples: int | None = 1_000,
    seed: int = 0,
) -> dict[str, Any]:
    """MIC and TIC of column i of `latents` with column i of `values`, for latents with known names.

    The settings, and what perfect codes score, are those of `mic`, which instead looks for the best
    assignment. A constant column has 0.

    Args:
      latents, values: ``[n, F]``.
      num_samples: use at most this many rows, sampled at random; None uses all.

    Returns:
      ``mic`` and ``tic`` (normalised), means over factors, each with ``..._per_factor``;
      ``num_samples``.

    Raises:
      UnsuitableData: fewer than 20 rows.
    """
    need_rows(len(values), 20, "MIC")
    rows = sample(len(values), num_samples, seed)
    pairs = [
        _coefficients(_Variable(x), _Variable(y), _ALPHA, _CLUMPS)
        for x, y in zip(latents[rows].T, values[rows].T, strict=True)
    ]
    result: dict[str, Any] = {}
    for name, per_factor in zip(("mic", "tic"), zip(*pairs, strict=True), strict=True):
        result[name] = float(np.mean(per_factor))
        result[f"{name}_per_factor"] = list(per_factor)
    return result | {"num_samples": len(rows)}


def characteristic_matrix(
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    *,
    alpha: float = _ALPHA,
    clumps: float = _CLUMPS,
) -> Characteristic:
    """The approximate characteristic matrix of MINE (Reshef et al., 2011, supplement, section 3).

    For every number of rows, y is partitioned into rows of equal size as far as ties allow, and
    dynamic programming finds the column edges, among the clumps of x, that maximise the mutual
    information. Then x and y swap roles, and the larger value counts. Entries are divided by
    log min(x, y). Grids have x y <= max(n^alpha, 4) cells.

    Args:
      x, y: ``[n]``, at least 4 values.
      alpha, clumps: see `mic`.

    Raises:
      UnsuitableData: different lengths, fewer than 4 values, values that are not finite, or a
        constant vector.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 4:
        raise UnsuitableData(
            "MIC compares two vectors of equal length with at least four values; their shapes are "
            f"{list(x.shape)} and {list(y.shape)}."
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()) or np.ptp(x) == 0 or np.ptp(y) == 0:
        raise UnsuitableData("MIC needs finite values, and neither vector may be constant.")
    return _characteristic(_Variable(x), _Variable(y), alpha, clumps)


class _Variable:
    """The ranks of a vector's values, and its partitions into rows of equal size."""

    def __init__(self, values: np.ndarray) -> None:
        _, self.rank, self.counts = np.unique(values, return_inverse=True, return_counts=True)
        self._rows: dict[int, np.ndarray] = {}

    def rows(self, count: int) -> Int[np.ndarray, " n"]:
        """The row, out of at most `count`, of each sample."""
        if count not in self._rows:
            self._rows[count] = equipartition(self.counts, count)[self.rank]
        return self._rows[count]


def _coefficients(x: _Variable, y: _Variable, alpha: float, clumps: float) -> tuple[float, float]:
    """MIC and normalised TIC; 0 if a variable is constant."""
    if len(x.counts) < 2 or len(y.counts) < 2:
        return 0.0, 0.0
    found = _characteristic(x, y, alpha, clumps)
    return found.mic, found.tic_normalised


def _characteristic(x: _Variable, y: _Variable, alpha: float, clumps: float) -> Characteristic:
    cells = max(len(x.rank) ** alpha, 4)
    most = int(cells // 2)
    matrix = np.full((most - 1, most - 1), np.nan)
    for rows in range(2, most + 1):
        columns = int(cells // rows)
        inside = slice(columns - 1)
        scale = np.log(np.minimum(np.arange(2, columns + 1), rows))
        upright = _best_columns(x, y.rows(rows), columns, clumps) / scale
        across = _best_columns(y, x.rows(rows), columns, clumps) / scale
        matrix[inside, rows - 2] = np.fmax(matrix[inside, rows - 2], upright)
        matrix[rows - 2, inside] = np.fmax(matrix[rows - 2, inside], across)
    return Characteristic(matrix)


def equipartition(counts: Int[np.ndarray, " values"], rows: int) -> Int[np.ndarray, " values"]:
    """The row of each distinct value, in order, with rows as equal in size as ties allow.

    A row ends before the value that would take it at least as far from its target size. The target
    size is the number of remaining samples divided by the number of remaining rows.

    Args:
      counts: samples with each distinct value, in increasing order of value.
      rows: how many rows, at most.
    """
    ends = np.cumsum(counts)
    doubled_middles = 2 * ends - counts
    result = np.empty(len(counts), np.intp)
    first = row = 0
    while first < len(counts):
        begun = int(ends[first] - counts[first])
        left, rows_left = int(ends[-1]) - begun, rows - row
        if rows_left <= 1:
            result[first:] = row
            break
        # Compare the middle of a value's samples with the target end, both doubled to integers so
        # that ties are exact.
        target = 2 * begun + -(-2 * left // rows_left)
        last = max(int(np.searchsorted(doubled_middles, target)), first + 1)
        result[first:last] = row
        first, row = last, row + 1
    return result


def _clumps(x: _Variable, row: np.ndarray, most: int) -> Int[np.ndarray, "clumps+1 rows"]:
    """Cumulative counts of each row up to the end of each clump, for at most `most` clumps.

    A clump is a maximal run along x within one row. Samples that share x but not the row form one
    clump.
    """
    rows = int(row.max()) + 1
    table = np.bincount(x.rank * rows + row, minlength=len(x.counts) * rows).reshape(-1, rows)
    pure = (table > 0).sum(1) == 1
    name = np.where(pure, table.argmax(1), -1 - np.arange(len(table)))
    starts = np.flatnonzero(np.concatenate([[True], name[1:] != name[:-1]]))
    table = np.add.reduceat(table, starts, axis=0)
    if len(table) > most:
        merged = equipartition(table.sum(1), most)
        table = np.add.reduceat(table, np.unique(merged, return_index=True)[1], axis=0)
    return np.concatenate([np.zeros((1, rows), table.dtype), np.cumsum(table, axis=0)])


def _best_columns(
    x: _Variable, row: np.ndarray, columns: int, clumps: float
) -> Float[np.ndarray, " columns-1"]:
    """Largest mutual information, in nats, of 2..`columns` columns of x with the given rows.

    It is H(rows) minus a sum over columns of p(column) H(rows | column). Since the sum is additive,
    the best partition of the first t clumps into l columns is the best, over s, of the best
    partition of the first s clumps into l - 1 columns plus one column from s to t.
    """
    ends = _clumps(x, row, max(int(clumps * columns), 1))
    n, places = int(ends[-1].sum()), len(ends) - 1
    log_table = _count_log_count(n)
    total = ends.sum(1)
    # The loss of a column of clumps s..t - 1: its size times its entropy.
    loss = log_table[np.maximum(total[None] - total[:, None], 0)]
    for counts in ends.T:
        loss -= log_table[np.maximum(counts[None] - counts[:, None], 0)]
    loss[np.tril_indices(places + 1)] = np.inf
    largest = (log_table[n] - log_table[ends[-1]].sum()) / n
    best, result = loss[0], np.empty(columns - 1)
    for number in range(2, columns + 1):
        if number > places:
            result[number - 2 :] = result[number - 3] if number > 2 else largest - best[-1] / n
            break
        best = (best[:, None] + loss).min(0)
        result[number - 2] = largest - best[-1] / n
    return np.maximum(result, 0)


def _count_log_count(n: int) -> Float[np.ndarray, " n+1"]:
    """k log k for k = 0..n."""
    counts = np.arange(n + 1, dtype=np.float64)
    return counts * np.log(np.maximum(counts, 1))
