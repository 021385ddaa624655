"""Shared by all metrics of representations: array checks, kinds of factors, samples of rows."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from cdis.errors import UserError, near_miss

#: Share of rows for training where there are too few for the usual sizes.
_TRAIN_SHARE = 2 / 3
#: Two factors count as dependent if the chi-squared test has a p-value below this ...
_P_VALUE = 1e-4
#: ... and their association (Cramér's V, corrected for bias) is at least this.
_ASSOCIATION = 0.05
#: Up to this many combinations of values, each gets its own probability.
_MOST_CELLS = 1e6


class UnsuitableData(UserError, ValueError):
    """A metric is not defined for these data; the message says why and what data would work."""


class Factors(NamedTuple):
    """Factors with their kinds; every factor varies."""

    values: Float[np.ndarray, "n factors"]
    #: discrete factors: index of the value among the sorted values; continuous factors: -1
    labels: Int[np.ndarray, "n factors"]
    sizes: Int[np.ndarray, " factors"]  #: number of values; 0 for continuous factors
    continuous: Bool[np.ndarray, " factors"]

    @property
    def count(self) -> int:
        """Number of factors."""
        return len(self.sizes)

    def take(self, rows: Int[np.ndarray, " m"]) -> "Factors":
        """These rows, with labels renumbered without gaps if some values no longer occur."""
        labels, sizes = self.labels[rows], self.sizes.copy()
        for factor in np.flatnonzero(~self.continuous):
            labels[:, factor], sizes[factor] = _dense(labels[:, factor])
        return Factors(self.values[rows], labels, sizes, self.continuous)


def check(
    representations: Float[np.ndarray, "n d"],
    factors: Float[np.ndarray, "n factors"],
    *,
    min_dimensions: int = 1,
    min_factors: int = 1,
    continuous: bool | Sequence[bool] | None = None,
) -> tuple[Float[np.ndarray, "n d"], Factors]:
    """Representations as float64, and the factors with their kinds.

    Args:
      representations: ``[n, d]``.
      factors: ``[n, F]``.
      min_dimensions, min_factors: what the metric needs.
      continuous: whether the factors are continuous, for all or for each. If None, a factor is
        discrete if it is integer-valued with at most n / 2 distinct values, or has at most n / 10
        distinct values of any kind.

    Raises:
      UnsuitableData: anything but two finite numeric matrices with equally many rows; a constant
        factor; representations that are constant in all dimensions; too few dimensions or factors.
    """
    z = _matrix(representations, "representations")
    y = _matrix(factors, "factors")
    if len(z) != len(y):
        raise UnsuitableData(
            f"There are {len(z)} rows of representations and {len(y)} of factors. Row i of both "
            "must belong to the same sample."
        )
    if z.shape[1] < min_dimensions:
        raise UnsuitableData(
            f"The representations have {z.shape[1]} dimension(s), but this metric needs at least "
            f"{min_dimensions}."
        )
    if y.shape[1] < min_factors:
        raise UnsuitableData(
            f"There is {y.shape[1]} factor, but this metric needs at least {min_factors}."
        )
    described = _with_kinds(y, continuous)
    if (z == z[0]).all():
        raise UnsuitableData(
            "All dimensions of the representations are constant, so they carry no information "
            "about any factor."
        )
    return z, described


def need_discrete(factors: Factors, score: str) -> None:
    """Raises `UnsuitableData` if any factor is continuous."""
    if factors.continuous.any():
        raise UnsuitableData(
            f"{score} needs discrete factors, but factor(s) "
            f"{_listed(np.flatnonzero(factors.continuous))} are continuous. Leave those columns "
            "out or bin them."
        )


def need_crossed(factors: Factors, score: str) -> None:
    """Raises `UnsuitableData` unless any factor can be fixed while the others vary freely.

    No pair of factors may be dependent, by a chi-squared test at level `_P_VALUE` together with an
    association of at least `_ASSOCIATION`; and any three factors must show about as many
    combinations of values as independent ones would.
    """
    need_discrete(factors, score)
    for a, b in combinations(range(factors.count), 2):
        if _dependent(factors, a, b):
            _refuse_crossed(score, f"factors {a} and {b} depend on each other")
    for three in combinations(range(factors.count), 3):
        seen, expected, std = _combinations(factors, three)
        if seen < 0.9 * expected - 6 * std:
            _refuse_crossed(
                score,
                f"factors {', '.join(map(str, three))} show {seen} combinations of values, where "
                f"independent factors would show about {expected:.0f}",
            )


def _refuse_crossed(score: str, why: str) -> None:
    raise UnsuitableData(
        f"{score} fixes one factor while all others vary, so it needs a crossed design, in which "
        f"factors are independent. Here, {why}. Score a crossed sample, or use DCI, InfoMEC or MCC."
    )


def split(
    n: int, num_train: int, num_test: int, seed: int
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " test"]]:
    """Disjoint shuffled rows for training and testing; two thirds and one third if n is small."""
    order = np.random.default_rng(seed).permutation(n)
    if n < num_train + num_test:
        num_train = round(_TRAIN_SHARE * n)
        num_test = n - num_train
    return order[:num_train], order[num_train : num_train + num_test]


def sample(n: int, most: int | None, seed: int) -> Int[np.ndarray, " m"]:
    """All rows, or `most` of them sampled without replacement."""
    if most is None or n <= most:
        return np.arange(n)
    return np.random.default_rng(seed).permutation(n)[:most]


def need_every_value(factors: Factors, rows: Int[np.ndarray, " m"], least: int, score: str) -> None:
    """Raises `UnsuitableData` unless every factor is covered by `rows`.

    Each value of a discrete factor must occur `least` times; a continuous factor must vary.
    """
    if fixed := np.flatnonzero(constant_columns(factors.values[rows])).tolist():
        raise UnsuitableData(
            f"Factor(s) {_listed(fixed)} are constant in the {len(rows)} rows that {score} uses. "
            "Give more rows."
        )
    for factor in np.flatnonzero(~factors.continuous):
        counts = np.bincount(factors.labels[rows, factor], minlength=factors.sizes[factor])
        if counts.min() < least:
            raise UnsuitableData(
                f"{score} needs every value of a factor at least {least} times in the "
                f"{len(rows)} rows that it uses, but one of the {factors.sizes[factor]} values of "
                f"factor {factor} occurs {counts.min()} times. Give more rows, or merge values."
            )


def need_rows(n: int, least: int, score: str) -> None:
    """Raises `UnsuitableData` for fewer than `least` rows."""
    if n < least:
        raise UnsuitableData(f"{score} needs at least {least} rows, but there are {n}.")


def need_preset(preset: str, presets: Collection[str], score: str) -> None:
    """Raises `UserError` if a metric has no such preset."""
    if preset not in presets:
        raise UserError(
            f"{score} has no preset {preset!r}{near_miss(preset, presets)}. Its presets are "
            f"{', '.join(presets)}."
        )


def canonical_order(representations: Float[np.ndarray, "n d"]) -> Int[np.ndarray, " d"]:
    """An order of the dimensions that depends on their content alone, not on their positions.

    Estimators break ties by position. Sorting dimensions first makes them break ties the same way
    in any order, so permuting dimensions cannot change a score. The sort key is the ranks of the
    values, which positive rescaling does not change.
    """
    keys = [
        np.unique(column, return_inverse=True)[1].astype(">u4").tobytes()
        for column in np.asarray(representations).T
    ]
    return np.array(sorted(range(len(keys)), key=lambda dimension: keys[dimension]))


def constant_columns(values: Float[np.ndarray, "n d"]) -> Bool[np.ndarray, " d"]:
    """Which columns hold a single value."""
    rows = np.ascontiguousarray(values.T)  # many times faster than reducing along columns
    return rows.min(1) == rows.max(1)


def standardised(values: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Zero mean and unit variance in every column; a constant column becomes zero."""
    std = values.std(0)
    constant = constant_columns(values)
    return np.where(constant, 0, (values - values.mean(0)) / np.where(constant, 1, std))


@contextmanager
def quiet_convergence() -> Iterator[None]:
    """Silences scikit-learn's convergence warnings; callers report convergence themselves."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def _matrix(array: object, name: str) -> np.ndarray:
    try:
        matrix = np.asarray(array)
        if matrix.dtype.kind not in "biuf":
            raise TypeError
    except (TypeError, ValueError):
        raise UnsuitableData(f"The {name} must be a matrix of real numbers.") from None
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise UnsuitableData(
            f"The {name} must be a matrix with one row per sample, but their shape is "
            f"{list(matrix.shape)}."
        )
    matrix = matrix.astype(np.float64, copy=False)
    if not np.isfinite(matrix).all():
        row, column = np.argwhere(~np.isfinite(matrix))[0]
        raise UnsuitableData(
            f"The {name} contain NaN or infinity, first in row {row}, column {column}. Remove such "
            "rows from both arrays, or find out where they come from."
        )
    return matrix


def _with_kinds(y: np.ndarray, continuous: bool | Sequence[bool] | None) -> Factors:
    n, count = y.shape
    if continuous is not None and np.shape(continuous) not in ((), (count,)):
        raise UnsuitableData(
            "`continuous` must be True, False, or a list with one of these for each of the "
            f"{count} factors."
        )
    # Transposed below, so that each column of labels is contiguous, which makes counting fast.
    labels, sizes = np.full((count, n), -1), np.zeros(count, int)
    kinds = np.zeros(count, bool)
    for factor, column in enumerate(np.ascontiguousarray(y.T)):
        whole = bool((column == np.rint(column)).all())
        low, high = column.min(), column.max()
        if low == high:
            raise UnsuitableData(
                f"Factor {factor} never varies, so it cannot be scored. Leave the column out, or "
                "take rows in which it varies."
            )
        if whole and high - low <= 4 * n:  # counting is several times faster than sorting
            index, distinct = _dense((column - low).astype(np.int64))
        else:
            values, index = np.unique(column, return_inverse=True)
            distinct = len(values)
        if continuous is None:
            kinds[factor] = distinct > max(n / (2 if whole else 10), 2)
        else:
            kinds[factor] = np.broadcast_to(continuous, count)[factor]
        if not kinds[factor]:
            labels[factor], sizes[factor] = index, distinct
    return Factors(y, labels.T, sizes, kinds)


def _dense(codes: Int[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " n"], int]:
    """The codes renumbered 0, 1, ... without gaps, in the same order; and how many there are."""
    used = np.bincount(codes) > 0
    if used.all():
        return codes, len(used)
    return (np.cumsum(used) - 1)[codes], int(used.sum())


def _dependent(factors: Factors, a: int, b: int) -> bool:
    from scipy.stats import chi2

    rows, columns = factors.sizes[a], factors.sizes[b]
    cells = factors.labels[:, a] * columns + factors.labels[:, b]
    table = np.bincount(cells, minlength=rows * columns).reshape(rows, columns).astype(float)
    n, freedom = table.sum(), (rows - 1) * (columns - 1)
    expected = table.sum(1, keepdims=True) * table.sum(0) / n
    statistic = ((table - expected) ** 2 / expected).sum()
    # Bias-corrected Cramér's V (Bergsma, 2013, section 2).
    excess = max(statistic / n - freedom / (n - 1), 0)
    corrected = min(size - (size - 1) ** 2 / (n - 1) for size in (rows, columns))
    association = np.sqrt(excess / max(corrected - 1, 1e-12))
    return bool(chi2.sf(statistic, freedom) < _P_VALUE and association >= _ASSOCIATION)


def _combinations(factors: Factors, three: tuple[int, ...]) -> tuple[int, float, float]:
    """Distinct combinations of three factors: the number seen; mean and std if independent."""
    n = len(factors.labels)
    sizes = factors.sizes[list(three)]
    cell = np.ravel_multi_index(tuple(factors.labels[:, f] for f in three), tuple(sizes))
    seen = len(np.unique(cell))
    each = [np.bincount(factors.labels[:, f]) / n for f in three]
    if np.prod(sizes, dtype=float) > _MOST_CELLS:
        # Nearly every row has its own cell: n minus the expected number of equal pairs.
        pairs = n * (n - 1) / 2 * float(np.prod([(share**2).sum() for share in each]))
        return seen, n - pairs, float(np.sqrt(pairs))
    shares = np.ones(1)
    for share in each:
        shares = np.multiply.outer(shares, share).ravel()
    empty = (1 - shares) ** n
    # Occupancies of cells are negatively correlated, so this variance is an upper bound.
    return seen, float((1 - empty).sum()), float(np.sqrt((empty * (1 - empty)).sum()))


def _listed(indices: Sequence[int] | np.ndarray) -> str:
    return ", ".join(map(str, indices))
