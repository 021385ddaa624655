"""DCI: disentanglement, completeness and informativeness from a predictor's importances."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from cdis.errors import UserError
from cdis.metrics.arrays import (
    UnsuitableData,
    canonical_order,
    check,
    need_every_value,
    need_rows,
    quiet_convergence,
    split,
    standardised,
)


class _Preset(NamedTuple):
    #: ``(continuous, seed) -> estimator``
    make: Callable[[bool, int], Any]
    #: ``(fitted estimator, number of dimensions) -> importance of each``, not negative
    importances: Callable[[Any, int], Float[np.ndarray, " d"]]
    scaled: bool = False  #: does it want standardised dimensions?
    regression: bool = False  #: does it take values of discrete factors for quantities?


def dci(
    representations: np.ndarray,
    factors: np.ndarray,
    *,
    preset: str = "hist_gradient_boosting",
    num_train: int = 10_000,
    num_test: int = 5_000,
    continuous: bool | Sequence[bool] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Disentanglement, completeness, informativeness (Eastwood and Williams, 2018).

    A predictor of each factor from all dimensions says how important each dimension is to it:
    ``importance`` R ``[d][F]``. With P the rows of R as shares and rho their weights in the whole,

        disentanglement = sum_i rho_i (1 + sum_j P_ij log_F P_ij),

    completeness likewise by columns, to base d. Informativeness is the held-out accuracy, or R^2
    where the predictor is a regressor, which can be negative; it is never the share of exact hits
    of a regressor. Presets, which change the scores and have to be named with them:

        hist_gradient_boosting  scikit-learn's histogram gradient boosting with the sizes of
            "gradient_boosting": 100 rounds of trees of depth 3; importance is the loss that splits
            gain. The fastest; the default
        gradient_boosting  scikit-learn's exact one, as disentanglement_lib and `disent`: minutes
        lightgbm  the same with LightGBM's defaults, importance by number of splits, as `disent`
            has it; needs the extra `lightgbm`
        random_forest  100 trees of scikit-learn
        logistic  multinomial; mean size of a dimension's standardised coefficients (regression with
            ridge penalty for continuous factors)
        lasso  on standardised dimensions and factors, penalty 0.02 (Eastwood and Williams); values
            of discrete factors count as quantities, and informativeness is R^2

    Perfect codes score 1, 1 and 1; with linear presets a little less, since coefficients of other
    dimensions are small but not 0. Copies of a dimension lower completeness, mixtures
    disentanglement. Blind to permutation; to positive rescaling up to rounding.

    Args:
      representations: ``[n, d]``, d at least 2.
      factors: ``[n, F]``, F at least 2.
      preset: see above.
      num_train, num_test: rows to learn from and to score; 2 : 1 if there are fewer.
      continuous: which factors are quantities; see `cdis.metrics.arrays.check`.

    Returns:
      The three; ``informativeness_train``; ``importance``; ``per_dimension`` disentanglement (None
      where no factor uses it) with ``dimension_weights``; ``per_factor`` completeness (None where
      no dimension is used) with ``factor_weights``; ``informativeness_per_factor``;
      ``dead_dimensions``; ``continuous``; ``preset``.

    Raises:
      UnsuitableData: see `cdis.metrics.arrays.check`; values too rare to learn; no dimension is of
        any importance.
      UserError: no such preset; LightGBM is not installed.
    """
    if preset not in PRESETS:
        raise UserError(f"DCI has no preset {preset!r}, but {', '.join(PRESETS)}.")
    chosen = PRESETS[preset]
    z, y = check(representations, factors, min_dimensions=2, min_factors=2, continuous=continuous)
    need_rows(len(z), 30, "DCI")
    train, test = split(len(z), num_train, num_test, seed)
    regression = y.continuous | chosen.regression
    need_every_value(y._replace(continuous=regression), train, 2, f"DCI with {preset}")
    need_every_value(y, test, 0, "The test of DCI")
    order = canonical_order(z)
    z = (standardised(z) if chosen.scaled else z)[:, order]
    importance = np.zeros((z.shape[1], y.count))
    on_train, on_test = np.empty(y.count), np.empty(y.count)
    for factor in range(y.count):
        target = y.labels[:, factor]
        if regression[factor]:
            target = standardised(y.values[:, [factor]])[:, 0]
        model = chosen.make(bool(regression[factor]), seed)
        with quiet_convergence():
            model.fit(z[train], target[train])
        importance[order, factor] = chosen.importances(model, z.shape[1])
        on_train[factor] = model.score(z[train], target[train])
        on_test[factor] = model.score(z[test], target[test])
    if not importance.any():
        raise UnsuitableData(
            f"No dimension is of any importance to DCI's predictors ({preset}), so that there is "
            "nothing to take shares of. Try a preset that is not linear."
        )
    disentanglement, by_dimension, dimension_weights = concentration(importance)
    completeness, by_factor, factor_weights = concentration(importance.T)
    return {
        "disentanglement": disentanglement,
        "completeness": completeness,
        "informativeness": float(on_test.mean()),
        "informativeness_train": float(on_train.mean()),
        "importance": importance.tolist(),
        "per_dimension": by_dimension,
        "dimension_weights": dimension_weights,
        "per_factor": by_factor,
        "factor_weights": factor_weights,
        "informativeness_per_factor": on_test.tolist(),
        "dead_dimensions": np.flatnonzero(importance.sum(1) == 0).tolist(),
        "continuous": y.continuous.tolist(),
        "preset": preset,
        "num_train": len(train),
        "num_test": len(test),
    }


def concentration(
    importance: Float[np.ndarray, "rows columns"],
) -> tuple[float, list[float | None], list[float]]:
    """How far each row spends itself on one column: 1 minus its entropy to base `columns`.

    Returns the mean weighted by the rows' shares of the whole, the value of each row (None for a
    row of zeros) and the weights.
    """
    total = importance.sum(1)
    weights = total / total.sum()
    values: list[float | None] = []
    for row, size in zip(importance, total, strict=True):
        if size == 0:
            values.append(None)
            continue
        shares = row[row > 0] / size
        values.append(float(1 + (shares * np.log(shares)).sum() / np.log(importance.shape[1])))
    mean = sum(w * v for w, v in zip(weights, values, strict=True) if v is not None)
    return float(mean), values, weights.tolist()


def _hist_gradient_boosting(continuous: bool, seed: int) -> Any:
    from sklearn import ensemble

    kind = (
        ensemble.HistGradientBoostingRegressor
        if continuous
        else ensemble.HistGradientBoostingClassifier
    )
    return kind(max_iter=100, max_depth=3, early_stopping=False, random_state=seed)


def _gain(model: Any, dimensions: int) -> np.ndarray:
    """Share of the gain of all splits; scikit-learn keeps it in the trees but does not sum it."""
    gain = np.zeros(dimensions)
    for round_ in model._predictors:
        for tree in round_:
            splits = tree.nodes[tree.nodes["is_leaf"] == 0]
            np.add.at(gain, splits["feature_idx"], splits["gain"])
    return gain / gain.sum() if gain.any() else gain


def _gradient_boosting(continuous: bool, seed: int) -> Any:
    from sklearn import ensemble

    kind = ensemble.GradientBoostingRegressor if continuous else ensemble.GradientBoostingClassifier
    return kind(random_state=seed)


def _lightgbm(continuous: bool, seed: int) -> Any:
    try:
        import lightgbm
    except ImportError:
        raise UserError(
            "DCI's preset lightgbm needs LightGBM: pip install 'cdis[lightgbm]'. The preset "
            "hist_gradient_boosting needs nothing more and is about as fast."
        ) from None
    kind = lightgbm.LGBMRegressor if continuous else lightgbm.LGBMClassifier
    return kind(random_state=seed, verbose=-1)


def _random_forest(continuous: bool, seed: int) -> Any:
    from sklearn import ensemble

    kind = ensemble.RandomForestRegressor if continuous else ensemble.RandomForestClassifier
    return kind(n_estimators=100, random_state=seed, n_jobs=-1)


def _logistic(continuous: bool, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge

    return Ridge() if continuous else LogisticRegression(max_iter=500)


def _lasso(continuous: bool, seed: int) -> Any:
    from sklearn.linear_model import Lasso

    return Lasso(alpha=0.02)


def _named_importances(model: Any, dimensions: int) -> np.ndarray:
    importances = np.abs(np.asarray(model.feature_importances_, np.float64))
    return importances / importances.sum() if importances.any() else importances


def _coefficients(model: Any, dimensions: int) -> np.ndarray:
    return np.abs(model.coef_).reshape(-1, dimensions).mean(0)


PRESETS = {
    "hist_gradient_boosting": _Preset(_hist_gradient_boosting, _gain),
    "gradient_boosting": _Preset(_gradient_boosting, _named_importances),
    "lightgbm": _Preset(_lightgbm, _named_importances),
    "random_forest": _Preset(_random_forest, _named_importances),
    "logistic": _Preset(_logistic, _coefficients, scaled=True),
    "lasso": _Preset(_lasso, _coefficients, scaled=True, regression=True),
}
