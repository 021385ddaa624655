"""R^2 of every factor from every dimension, and from all of them."""

from typing import Any

import numpy as np

from cdis.metrics.arrays import (
    canonical_order,
    check,
    need_every_value,
    need_rows,
    split,
    standardised,
)

#: A tree on one dimension has at most so many steps ...
_STEPS = 64
#: ... each of which rests on so many rows.
_ROWS_A_STEP = 10


def r2(
    representations: np.ndarray,
    factors: np.ndarray,
    *,
    num_train: int = 10_000,
    num_test: int = 5_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Share of each factor's variance that dimensions explain, linearly and otherwise.

    All is held out: fitted to training rows and scored on test rows, so that it can be negative.
    ``linear`` is least squares. ``nonlinear`` is, from one dimension, a regression tree of at most
    64 steps, and from all, gradient boosting. Values of discrete factors count as quantities, which
    says little of factors whose order means nothing, such as shapes.

    ``linear`` and ``nonlinear`` (means over factors of R^2 from all dimensions) measure
    identifiability up to a linear or any map; ``linear_matched`` and ``nonlinear_matched`` (of the
    best one-to-one assignment in the matrix, negative entries as 0) up to a permutation and maps of
    single dimensions. Perfect codes score 1 in all, up to the steps of the trees; a rotation keeps
    ``linear`` at 1. Blind to permutation; to rescaling of dimensions up to rounding.

    Args:
      representations: ``[n, d]``.
      factors: ``[n, F]``.
      num_train, num_test: rows to learn from and to score; 2 : 1 if there are fewer.

    Returns:
      The four; ``linear_per_factor``, ``nonlinear_per_factor`` from all dimensions;
      ``linear_matrix``, ``nonlinear_matrix`` ``[d][F]``; ``dead_dimensions``.

    Raises:
      UnsuitableData: see `cdis.metrics.arrays.check`; fewer rows than a tree needs, or than
        dimensions allow.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import LinearRegression
    from sklearn.tree import DecisionTreeRegressor

    z, y = check(representations, factors, continuous=True)
    need_rows(len(z), max(100, 3 * z.shape[1]), "R^2")
    train, test = split(len(z), num_train, num_test, seed)
    need_every_value(y, train, 0, "R^2")
    need_every_value(y, test, 0, "The test of R^2")
    values = standardised(y.values)
    order = canonical_order(z)
    z = standardised(z)[:, order]

    def fitted(model: Any, x: np.ndarray, factor: int) -> float:
        return float(
            model.fit(x[train], values[train, factor]).score(x[test], values[test, factor])
        )

    result: dict[str, Any] = {}
    single = {
        "linear": LinearRegression,
        "nonlinear": lambda: DecisionTreeRegressor(
            max_leaf_nodes=_STEPS, min_samples_leaf=_ROWS_A_STEP, random_state=seed
        ),
    }
    joint = {
        "linear": LinearRegression,
        "nonlinear": lambda: HistGradientBoostingRegressor(early_stopping=False, random_state=seed),
    }
    for kind, make in single.items():
        matrix = np.empty((z.shape[1], y.count))
        for dimension in range(z.shape[1]):
            for factor in range(y.count):
                matrix[order[dimension], factor] = fitted(make(), z[:, [dimension]], factor)
        together = [fitted(joint[kind](), z, factor) for factor in range(y.count)]
        result[kind] = float(np.mean(together))
        result[f"{kind}_matched"] = _matched(matrix)
        result[f"{kind}_per_factor"] = together
        result[f"{kind}_matrix"] = matrix.tolist()
    result["dead_dimensions"] = np.flatnonzero(~z[:, np.argsort(order)].any(0)).tolist()
    return result | {"num_train": len(train), "num_test": len(test)}


def _matched(matrix: np.ndarray) -> float:
    """Mean over factors along the best assignment; a factor without a dimension counts 0."""
    from scipy.optimize import linear_sum_assignment

    positive = np.maximum(matrix, 0)
    return float(positive[linear_sum_assignment(positive, maximize=True)].sum() / matrix.shape[1])
