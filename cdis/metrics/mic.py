"""MIC and TIC: the grids on which two variables know most of each other (MINE)."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from cdis.metrics.arrays import UnsuitableData, check, need_rows, sample


class Characteristic(NamedTuple):
    """The characteristic matrix of two variables."""

    #: normalised information on grids of x columns and y rows, at ``[x - 2, y - 2]``; NaN where
    #: x y > B(n)
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
    alpha: float = 0.6,
    clumps: float = 15,
    num_samples: int | None = 1_000,
    seed: int = 0,
) -> dict[str, Any]:
    """MIC and TIC of every dimension with every factor (Reshef et al., 2011, Science 334).

    As CausalVAE, DEAR and CauF-VAE report them: the score is the mean over factors of the
    coefficient along the best one-to-one assignment of dimensions (a factor left without one counts
    0). Factors and dimensions are taken as quantities, ordered by value.

    Perfect codes have MIC 1 unless a value is so frequent that no grid is balanced (a binary factor
    scores its entropy in bits); their TIC is less than 1, since coarse or crooked grids count too.
    Blind to permutation and to increasing functions of each dimension.

    Time grows with n^1.8 and more, so that 1,000 rows are drawn by default.

    Args:
      representations: ``[n, d]``.
      factors: ``[n, F]``.
      alpha: grids have at most n^alpha cells.
      clumps: a grid line of x columns is looked for among at most `clumps` x places.
      num_samples: at most so many rows are drawn; None takes all.

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
            if len(column.counts) > 1 and len(target.counts) > 1:
                found = _characteristic(column, target, alpha, clumps)
                matrices["mic"][i, j], matrices["tic"][i, j] = found.mic, found.tic_normalised
    result: dict[str, Any] = {}
    for name, matrix in matrices.items():
        per_factor = np.zeros(y.count)
        dimensions, assigned = linear_sum_assignment(matrix, maximize=True)
        per_factor[assigned] = matrix[dimensions, assigned]
        result[name] = float(per_factor.mean())
        result[f"{name}_per_factor"] = per_factor.tolist()
        result[f"{name}_matrix"] = matrix.tolist()
    return result | {"num_samples": len(rows)}


def characteristic_matrix(
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    *,
    alpha: float = 0.6,
    clumps: float = 15,
) -> Characteristic:
    """The approximate characteristic matrix of MINE (Reshef et al., 2011, supplement, section 3).

    For every number of rows y is cut into rows of equal size as far as ties allow, and the columns
    that make the mutual information largest are found among the clumps of x exactly, by dynamic
    programming; then the other way round, and the larger counts. Entries are divided by
    log min(x, y). Grids have x y <= max(n^alpha, 4) cells.

    Raises UnsuitableData for vectors of different lengths, fewer than 4 values, values that are not
    finite, or a constant.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 4:
        raise UnsuitableData("MIC compares two vectors of equal length, of at least four values.")
    if not (np.isfinite(x).all() and np.isfinite(y).all()) or np.ptp(x) == 0 or np.ptp(y) == 0:
        raise UnsuitableData("MIC compares finite values, and neither vector may be constant.")
    return _characteristic(_Variable(x), _Variable(y), alpha, clumps)


class _Variable:
    """A vector by the ranks of its values, and its partitions into rows of equal size."""

    def __init__(self, values: np.ndarray) -> None:
        _, self.rank, self.counts = np.unique(values, return_inverse=True, return_counts=True)
        self.order = np.argsort(self.rank, kind="stable")
        self._rows: dict[int, np.ndarray] = {}

    def rows(self, count: int) -> Int[np.ndarray, " n"]:
        """Which of at most `count` rows each sample lies in."""
        if count not in self._rows:
            self._rows[count] = equipartition(self.counts, count)[self.rank]
        return self._rows[count]


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
    """The row of each distinct value, in order, so that rows hold as equal numbers as ties allow.

    A row ends before the value with which it would lie farther from the wanted size, or as far; the
    wanted size is what is left over the rows that are left.
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
        # Half the value's samples beyond the wanted end: in whole numbers, so that ties are exact.
        wanted = 2 * begun + -(-2 * left // rows_left)
        last = max(int(np.searchsorted(doubled_middles, wanted)), first + 1)
        result[first:last] = row
        first, row = last, row + 1
    return result


def _clumps(x: _Variable, row: np.ndarray, most: int) -> Int[np.ndarray, "clumps+1 rows"]:
    """Counts of each row up to the end of each clump, at most `most` clumps.

    A clump is a longest run along x within one row. Samples that share their x but not their row
    are one clump.
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

    Information is H(rows) minus the columns' shares of H(rows | column), and these add up, so that
    the best cut of the first t clumps into l columns is the best over s of the best cut of s clumps
    into l - 1 and one column from s to t.
    """
    ends = _clumps(x, row, max(int(clumps * columns), 1))
    n, places = int(ends[-1].sum()), len(ends) - 1
    log_table = _count_log_count(n)
    total = ends.sum(1)
    # Loss of a column of the clumps s..t - 1: its size times its entropy.
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
