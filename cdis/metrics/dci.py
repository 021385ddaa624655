"""DCI: disentanglement, completeness and informativeness from feature importances."""

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
    need_preset,
    need_rows,
    quiet_convergence,
    split,
    standardised,
)


class _Preset(NamedTuple):
    help: str  #: a few words
    #: ``(continuous, seed) -> estimator``
    make: Callable[[bool, int], Any]
    #: ``(fitted estimator, number of dimensions) -> importance of each dimension``, at least 0
    importances: Callable[[Any, int], Float[np.ndarray, " d"]]
    scaled: bool = False  #: standardise dimensions first?
    regression: bool = False  #: treat discrete factors as numbers?


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

    Each factor is predicted from all dimensions, and the fitted predictor gives each dimension an
    importance: R ``[d][F]``. With P the rows of R normalised to sum 1 and rho_i the share of row i
    in the sum of R,

        disentanglement = sum_i rho_i (1 + sum_j P_ij log_F P_ij);

    completeness is the same for columns, with logarithms to base d. Informativeness is the held-out
    accuracy, or the held-out R^2 where the predictor is a regressor, which can be negative. The
    preset changes the scores, so report it with them:

        hist_gradient_boosting  scikit-learn's histogram gradient boosting with the sizes of
            "gradient_boosting": 100 rounds of trees of depth 3; importance is the loss reduction of
            the splits. The fastest, and the default
        gradient_boosting  scikit-learn's exact version, as in disentanglement_lib and `disent`;
            takes minutes
        lightgbm  LightGBM's defaults, importance by gain; needs the extra `lightgbm`. (`disent`
            counts LightGBM's splits, with which perfect codes can score 0.2)
        random_forest  scikit-learn's, 100 trees
        logistic  multinomial; importance is the mean absolute coefficient of the standardised
            dimension (ridge regression for continuous factors)
        lasso  on standardised dimensions and factors, penalty 0.02 (Eastwood and Williams);
            discrete factors are treated as numbers, and informativeness is R^2

    Perfect codes score 1, 1 and 1; slightly less with "logistic", whose coefficients of other
    dimensions are small but not 0, and with "random_forest" (about 0.9), where each split considers
    only some of the dimensions. Duplicated dimensions lower completeness, mixed dimensions lower
    disentanglement. Invariant to permutation, and to positive rescaling up to rounding.

    Args:
      representations: ``[n, d]``, d at least 2.
      factors: ``[n, F]``, F at least 2.
      preset: see above.
      num_train, num_test: rows for training and testing; split 2 : 1 if there are fewer.
      continuous: which factors are continuous; see `cdis.metrics.arrays.check`.

    Returns:
      ``disentanglement``, ``completeness``, ``informativeness``; ``informativeness_train``;
      ``importance`` R; ``per_dimension`` disentanglement (None for dimensions without importance)
      with ``dimension_weights`` rho; ``per_factor`` completeness (None for factors that use no
      dimension) with ``factor_weights``; ``informativeness_per_factor``; ``dead_dimensions``
      (without importance); ``continuous``; ``preset``; ``num_train``, ``num_test``.

    Raises:
      UnsuitableData: see `cdis.metrics.arrays.check`; values too rare to learn; no dimension has
        any importance.
      UserError: no such preset; LightGBM is not installed.
    """
    need_preset(preset, PRESETS, "DCI")
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
            f"DCI's predictors ({preset}) give no dimension any importance, so the scores are not "
            "defined. Try a nonlinear preset."
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
    """How far each row concentrates on one column: 1 minus its entropy to base `columns`.

    Returns the mean weighted by each row's share of the total, the value of each row (None for a
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

    kind: Any = (
        ensemble.HistGradientBoostingRegressor
        if continuous
        else ensemble.HistGradientBoostingClassifier
    )
    return kind(max_iter=100, max_depth=3, early_stopping=False, random_state=seed)


def _gain(model: Any, dimensions: int) -> np.ndarray:
    """Each dimension's share of the gain of all splits, stored by scikit-learn, but not summed."""
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
        import lightgbm  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError:
        raise UserError(
            "DCI's preset lightgbm needs LightGBM: pip install 'cdis[lightgbm]'. The preset "
            "hist_gradient_boosting is about as fast and needs no extra package."
        ) from None
    kind = lightgbm.LGBMRegressor if continuous else lightgbm.LGBMClassifier
    return kind(importance_type="gain", random_state=seed, verbose=-1)


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
    "hist_gradient_boosting": _Preset("fast", _hist_gradient_boosting, _gain),
    "gradient_boosting": _Preset(
        "disentanglement_lib's; takes minutes", _gradient_boosting, _named_importances
    ),
    "lightgbm": _Preset("needs the extra lightgbm", _lightgbm, _named_importances),
    "random_forest": _Preset("100 trees", _random_forest, _named_importances),
    "logistic": _Preset("coefficients", _logistic, _coefficients, scaled=True),
    "lasso": _Preset("coefficients; R²", _lasso, _coefficients, scaled=True, regression=True),
}
