"""What every score of a representation starts from: checked arrays, kinds of factors, samples."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from cdis.errors import UserError

#: Shares of rows for training and testing where there are too few for the usual sizes.
_TRAIN_SHARE = 2 / 3
#: Two factors are taken for dependent if chance explains them with less than this probability ...
_CHANCE = 1e-4
#: ... and their association (Cramér's V, corrected for bias) is at least this.
_ASSOCIATION = 0.05
#: Combinations of values up to which each is counted with its own probability.
_MOST_CELLS = 1e6


class UnsuitableData(UserError, ValueError):
    """A score is not defined for these data; the message says why and what would do."""


class Factors(NamedTuple):
    """Factors with their kinds; every factor varies."""

    values: Float[np.ndarray, "n factors"]
    #: discrete: index of the value among the sorted ones; continuous: -1
    labels: Int[np.ndarray, "n factors"]
    sizes: Int[np.ndarray, " factors"]  #: number of values; 0 for continuous factors
    continuous: Bool[np.ndarray, " factors"]

    @property
    def count(self) -> int:
        """Number of factors."""
        return len(self.sizes)

    def take(self, rows: Int[np.ndarray, " m"]) -> "Factors":
        """These rows, whose labels leave no gap where values are missing from them."""
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

    `continuous` says of all factors, or of each, whether it is a quantity rather than one of a few
    values. If it is None, a factor is discrete if at most half as many values as rows occur and all
    are integers, or if at most a tenth as many values as rows occur.

    Raises `UnsuitableData` for anything but two finite matrices of numbers with as many rows, for a
    constant factor, for representations that are constant in all dimensions, and for fewer
    dimensions or factors than the score needs.
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
            f"The representations have {z.shape[1]} dimension(s), and this score compares at least "
            f"{min_dimensions}."
        )
    if y.shape[1] < min_factors:
        raise UnsuitableData(
            f"There is {y.shape[1]} factor, and this score compares at least {min_factors}."
        )
    described = _with_kinds(y, continuous)
    if (z == z[0]).all():
        raise UnsuitableData(
            "All dimensions of the representations are constant: they say nothing of any factor, "
            "and there is nothing to score."
        )
    return z, described


def need_discrete(factors: Factors, score: str) -> None:
    """Raises `UnsuitableData` if any factor is continuous."""
    if factors.continuous.any():
        raise UnsuitableData(
            f"{score} needs factors with a few values each, and factor(s) "
            f"{_listed(np.flatnonzero(factors.continuous))} are continuous. Leave those columns "
            "out or bin them."
        )


def need_crossed(factors: Factors, score: str) -> None:
    """Raises `UnsuitableData` unless any factor can be fixed while the others vary freely.

    Each pair of factors must be independent, as far as a chi-squared test (with `_CHANCE`) and an
    association of at least `_ASSOCIATION` tell, and each three factors must show about as many
    combinations of values as independent ones would.
    """
    need_discrete(factors, score)
    for a, b in combinations(range(factors.count), 2):
        if _dependent(factors, a, b):
            _refuse_crossed(score, f"factors {a} and {b} depend on each other")
    for three in combinations(range(factors.count), 3):
        seen, expected, spread = _combinations(factors, three)
        if seen < 0.9 * expected - 6 * spread:
            _refuse_crossed(
                score,
                f"factors {', '.join(map(str, three))} show {seen} combinations of values where "
                f"about {expected:.0f} were to be expected",
            )


def _refuse_crossed(score: str, why: str) -> None:
    raise UnsuitableData(
        f"{score} fixes one factor while all others vary and so needs a crossed design, in which "
        f"factors are independent; here {why}. Score a crossed sample, or use DCI, InfoMEC or MCC."
    )


def split(
    n: int, num_train: int, num_test: int, seed: int
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " test"]]:
    """Disjoint shuffled rows to learn from and to test on; two thirds and one if n is too small."""
    order = np.random.default_rng(seed).permutation(n)
    if n < num_train + num_test:
        num_train = round(_TRAIN_SHARE * n)
        num_test = n - num_train
    return order[:num_train], order[num_train : num_train + num_test]


def sample(n: int, most: int | None, seed: int) -> Int[np.ndarray, " m"]:
    """All rows, or `most` of them drawn without replacement."""
    if most is None or n <= most:
        return np.arange(n)
    return np.random.default_rng(seed).permutation(n)[:most]


def need_every_value(factors: Factors, rows: Int[np.ndarray, " m"], least: int, score: str) -> None:
    """Raises `UnsuitableData` if `rows` say too little of a factor.

    Each value of a discrete one must be there `least` times, and a continuous one must vary.
    """
    if fixed := np.flatnonzero(constant_columns(factors.values[rows])).tolist():
        raise UnsuitableData(
            f"Factor(s) {_listed(fixed)} are constant in the {len(rows)} rows that {score} takes. "
            "Give more rows."
        )
    for factor in np.flatnonzero(~factors.continuous):
        counts = np.bincount(factors.labels[rows, factor], minlength=factors.sizes[factor])
        if counts.min() < least:
            raise UnsuitableData(
                f"{score} needs every value of a factor at least {least} times in the "
                f"{len(rows)} rows that it learns from; of the {factors.sizes[factor]} values of "
                f"factor {factor} one is there {counts.min()} times. Give more rows or merge "
                "values."
            )


def need_rows(n: int, least: int, score: str) -> None:
    """Raises `UnsuitableData` for fewer than `least` rows."""
    if n < least:
        raise UnsuitableData(f"{score} needs at least {least} rows, and there are {n}.")


def canonical_order(representations: Float[np.ndarray, "n d"]) -> Int[np.ndarray, " d"]:
    """An order of dimensions that depends on their content alone, not on where they stand.

    Estimators break ties by position. In this order they break them the same way for any order that
    the dimensions come in, so that permuting dimensions cannot change a score. Ranks decide, which
    positive rescaling leaves as they are.
    """
    keys = [
        np.unique(column, return_inverse=True)[1].astype(">u4").tobytes()
        for column in np.asarray(representations).T
    ]
    return np.array(sorted(range(len(keys)), key=lambda dimension: keys[dimension]))


def constant_columns(values: Float[np.ndarray, "n d"]) -> Bool[np.ndarray, " d"]:
    """Which columns have one value only."""
    rows = np.ascontiguousarray(values.T)  # many times faster than along the columns
    return rows.min(1) == rows.max(1)


def standardised(values: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Zero mean and unit variance in every column; a constant column becomes zero."""
    spread = values.std(0)
    constant = constant_columns(values)
    return np.where(constant, 0, (values - values.mean(0)) / np.where(constant, 1, spread))


@contextmanager
def quiet_convergence() -> Iterator[None]:
    """Silences scikit-learn's warning of an optimiser that stopped early; callers report it."""
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
            f"The {name} must be a matrix with a row for each sample, and have shape "
            f"{list(matrix.shape)}."
        )
    matrix = matrix.astype(np.float64, copy=False)
    if not np.isfinite(matrix).all():
        row, column = np.argwhere(~np.isfinite(matrix))[0]
        raise UnsuitableData(
            f"The {name} hold NaN or infinity, first in row {row}, column {column}. Remove those "
            "rows from both arrays, or find out where they come from."
        )
    return matrix


def _with_kinds(y: np.ndarray, continuous: bool | Sequence[bool] | None) -> Factors:
    n, count = y.shape
    if continuous is not None and np.shape(continuous) not in ((), (count,)):
        raise UnsuitableData(
            f"`continuous` must be True or False, or one of them for each of the {count} factors."
        )
    # A column of labels lies together in memory, as those who count it want it.
    labels, sizes = np.full((count, n), -1), np.zeros(count, int)
    kinds = np.zeros(count, bool)
    for factor, column in enumerate(np.ascontiguousarray(y.T)):
        whole = bool((column == np.rint(column)).all())
        low, high = column.min(), column.max()
        if low == high:
            raise UnsuitableData(
                f"Factor {factor} never varies, so nothing can be said of it. Leave the column "
                "out, or take rows in which it varies."
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
    """Codes 0, 1, ... without gaps, in the same order, and their number."""
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
    return bool(chi2.sf(statistic, freedom) < _CHANCE and association >= _ASSOCIATION)


def _combinations(factors: Factors, three: tuple[int, ...]) -> tuple[int, float, float]:
    """Distinct combinations of three factors: seen, and mean and spread for independent ones."""
    n = len(factors.labels)
    sizes = factors.sizes[list(three)]
    cell = np.ravel_multi_index(tuple(factors.labels[:, f] for f in three), tuple(sizes))
    seen = len(np.unique(cell))
    each = [np.bincount(factors.labels[:, f]) / n for f in three]
    if np.prod(sizes, dtype=float) > _MOST_CELLS:
        # Nearly all rows have a cell of their own: n less the expected number of equal pairs.
        pairs = n * (n - 1) / 2 * float(np.prod([(share**2).sum() for share in each]))
        return seen, n - pairs, float(np.sqrt(pairs))
    shares = np.ones(1)
    for share in each:
        shares = np.multiply.outer(shares, share).ravel()
    empty = (1 - shares) ** n
    # Whether cells are hit is negatively correlated, so that this variance is an upper bound.
    return seen, float((1 - empty).sum()), float(np.sqrt((empty * (1 - empty)).sum()))


def _listed(indices: Sequence[int] | np.ndarray) -> str:
    return ", ".join(map(str, indices))
