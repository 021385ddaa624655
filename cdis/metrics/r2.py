"""R^2 of every factor, predicted from each dimension and from all of them."""

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

#: A regression tree on one dimension has at most this many leaves ...
_LEAVES = 64
#: ... of at least this many rows each.
_ROWS_PER_LEAF = 10


def r2(
    representations: np.ndarray,
    factors: np.ndarray,
    *,
    num_train: int = 10_000,
    num_test: int = 5_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Proportion of each factor's variance that dimensions explain, linearly and nonlinearly.

    Models are fitted to training rows and scored on test rows, so R^2 can be negative. Linear
    models are least squares; the nonlinear model is a regression tree with at most 64 leaves for
    one dimension, and gradient boosting for all of them. Discrete factors are treated as numbers,
    which means little for factors without an order, such as shapes.

    ``linear`` and ``nonlinear`` are means over factors of the R^2 from all dimensions: they measure
    identifiability up to a linear or an arbitrary map. ``linear_matched`` and ``nonlinear_matched``
    are means under the best one-to-one assignment of dimensions to factors (negative R^2 counts as
    0): they measure identifiability up to permutation and maps of single dimensions. Perfect codes
    score 1 in all four, up to the resolution of the trees; a rotation keeps ``linear`` at 1.
    Invariant to permutation, and to rescaling up to rounding.

    Args:
      representations: ``[n, d]``.
      factors: ``[n, F]``.
      num_train, num_test: rows for training and testing; split 2 : 1 if there are fewer.

    Returns:
      ``linear``, ``nonlinear``, ``linear_matched``, ``nonlinear_matched``; ``linear_per_factor``,
      ``nonlinear_per_factor`` from all dimensions; ``linear_matrix``, ``nonlinear_matrix``
      ``[d][F]`` from single dimensions; ``dead_dimensions`` (constant ones); ``num_train``,
      ``num_test``.

    Raises:
      UnsuitableData: see `cdis.metrics.arrays.check`; fewer than 100 rows, or than three per
        dimension.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import LinearRegression
    from sklearn.tree import DecisionTreeRegressor

    boosting: Any = HistGradientBoostingRegressor
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
            max_leaf_nodes=_LEAVES, min_samples_leaf=_ROWS_PER_LEAF, random_state=seed
        ),
    }
    joint = {
        "linear": LinearRegression,
        "nonlinear": lambda: boosting(early_stopping=False, random_state=seed),
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
    """Mean over factors under the best assignment; a factor without a dimension counts as 0."""
    from scipy.optimize import linear_sum_assignment

    positive = np.maximum(matrix, 0)
    return float(positive[linear_sum_assignment(positive, maximize=True)].sum() / matrix.shape[1])
