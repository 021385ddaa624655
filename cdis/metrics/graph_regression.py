"""Counterfactuals estimated from labels and a causal graph, where the true mechanism is unknown.

Each effect is fitted to its parents, v_i = f_i(parents) + r_i, with noise r_i that is independent
of them (an additive noise model; Hoyer et al., "Nonlinear causal discovery with additive noise
models", 2009). A counterfactual keeps the noise: abduct r_i from a row's own values, set the
factor, and recompute its descendants in causal order. This is right if the graph is complete (no
hidden common causes) and noise is additive; `explained` says how much of each effect the fit
accounts for.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from cdis.metrics.arrays import need_rows, quiet_convergence
from cdis.metrics.causal_interventions import descendants, r_squared
from cdis.ops.adjacency import topological_order

#: Rows to fit an effect to, sampled if there are more; kernels take time cubic in them.
MAX_ROWS = 2000
_FOLDS = 5
#: A more flexible regressor must explain so much more of an effect's variance to be preferred.
_MARGIN = 1e-3

# (a row's values before, parents' values among them; the same with causes changed) -> the effect
_Counterfactual = Callable[[np.ndarray, np.ndarray], np.ndarray]


class GraphRegression(NamedTuple):
    """What `fit` has learnt."""

    #: (values [n, F], factor, value [n]) -> values [n, F] under do(factor = value)
    counterfactual: Callable[[np.ndarray, int, np.ndarray], np.ndarray]
    #: values of held-out rows [n, F] -> [F]: the proportion of each effect's variance (of a
    #: category, its indicators' variance) that its parents explain; None without either
    explained: Callable[[np.ndarray], list[float | None]]
    chosen: tuple[str | None, ...]  #: [F], the regressor of each effect; None without parents


class _Effect(NamedTuple):
    regressor: str
    counterfactual: _Counterfactual
    explained: Callable[[np.ndarray], float | None]


def fit(
    values: Float[np.ndarray, "n f"],
    graph: Int[np.ndarray, "f f"] | Sequence[Sequence[int]],
    categorical: Sequence[bool],
    *,
    seed: int = 0,
) -> GraphRegression:
    """Fit every effect to its parents.

    A number is fitted by the regressor with the best cross-validated R^2 among linear, quadratic
    and cubic ridge regression, kernel ridge regression and gradient boosting, the simplest if
    several are about as good. A category is fitted by quadratic logistic regression. Its
    counterfactual is the most probable one under a maximal coupling: a category k with probability
    p_k before and q_k afterwards is kept with probability min(1, q_k / p_k), and otherwise replaced
    in proportion to where probability has risen.

    Args:
      values: ``[n, F]``, physical; NaN where unknown. An effect is fitted to the rows in which it
        and all its parents are known.
      graph: ``[F, F]``, ``graph[i][j] = 1`` if j is a parent of i; without cycles.
      categorical: whether the values of each factor are mere names.
      seed: of samples and folds.

    Raises:
      UnsuitableData: an effect has fewer than 20 rows to be fitted to.
    """
    adjacency = np.asarray(graph)
    order = topological_order(adjacency)
    kinds = np.asarray(categorical, bool)
    effects: dict[int, _Effect] = {}
    for effect in np.flatnonzero(adjacency.any(1)).tolist():
        parents = np.flatnonzero(adjacency[effect])
        known = values[np.isfinite(values[:, [*parents, effect]]).all(1)]
        need_rows(len(known), 20, f"The regression of factor {effect} on its causes")
        rows = known[np.random.default_rng(seed).permutation(len(known))[:MAX_ROWS]]
        make = _category if kinds[effect] else _number
        effects[effect] = make(rows, parents, effect, kinds[parents], seed)

    def counterfactual(values: np.ndarray, factor: int, value: np.ndarray) -> np.ndarray:
        before = np.asarray(values, np.float64)
        after = before.copy()
        after[:, factor] = value
        for effect in sorted(descendants(adjacency, factor), key=order.index):
            after[:, effect] = effects[effect].counterfactual(before, after)
        return after

    def explained(values: np.ndarray) -> list[float | None]:
        every = (effects.get(i) for i in range(len(adjacency)))
        return [None if effect is None else effect.explained(values) for effect in every]

    chosen = (effects[i].regressor if i in effects else None for i in range(len(adjacency)))
    return GraphRegression(counterfactual, explained, tuple(chosen))


def _number(
    rows: np.ndarray, parents: np.ndarray, effect: int, categorical: np.ndarray, seed: int
) -> _Effect:
    from sklearn.model_selection import KFold, cross_val_score

    x, y = rows[:, parents], rows[:, effect]
    candidates = _regressors(categorical, seed)
    folds = KFold(_FOLDS, shuffle=True, random_state=seed)
    r2 = {name: cross_val_score(model, x, y, cv=folds).mean() for name, model in candidates.items()}
    name = next(name for name in r2 if r2[name] >= max(r2.values()) - _MARGIN)
    predict = candidates[name].fit(x, y).predict

    def counterfactual(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        return before[:, effect] + predict(after[:, parents]) - predict(before[:, parents])

    def explained(values: np.ndarray) -> float | None:
        try:
            return r_squared(predict(values[:, parents]), values[:, effect])
        except ValueError:  # constant in these rows
            return None

    return _Effect(name, counterfactual, explained)


def _category(
    rows: np.ndarray, parents: np.ndarray, effect: int, categorical: np.ndarray, seed: int
) -> _Effect:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures

    classes, label = np.unique(rows[:, effect], return_inverse=True)
    model: Any = make_pipeline(
        _standardised(categorical),
        PolynomialFeatures(2, include_bias=False),
        LogisticRegression(max_iter=1000),
    )
    if len(classes) > 1:
        with quiet_convergence():
            model.fit(rows[:, parents], label)

    def probability(values: np.ndarray) -> np.ndarray:
        if len(classes) == 1:
            return np.ones((len(values), 1))
        return model.predict_proba(values[:, parents])

    def counterfactual(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        own, place = before[:, effect], np.searchsorted(classes, before[:, effect])
        place = place.clip(0, len(classes) - 1)
        p, q = probability(before), probability(after)
        every = np.arange(len(own))
        stays = np.minimum(1, q[every, place] / p[every, place])
        risen = (q - p).clip(0)
        moves = (1 - stays)[:, None] * risen / np.maximum(risen.sum(1, keepdims=True), 1e-12)
        moves[every, place] = stays
        # A category that training rows do not have says nothing of the noise, and is kept.
        return np.where(classes[place] == own, classes[moves.argmax(1)], own)

    def explained(values: np.ndarray) -> float | None:
        indicators = values[:, [effect]] == classes
        variance = np.square(indicators - indicators.mean(0)).sum()
        error = np.square(indicators - probability(values)).sum()
        return float(1 - error / variance) if variance > 0 else None

    return _Effect("logistic", counterfactual, explained)


def _regressors(categorical: np.ndarray, seed: int) -> dict[str, Any]:
    """Candidates by name, the simplest first."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures

    def polynomial(degree: int) -> Any:
        expand = PolynomialFeatures(degree, include_bias=False)
        return make_pipeline(_standardised(categorical), expand, RidgeCV(np.logspace(-6, 2, 9)))

    def kernel(width: float, noise: float) -> Any:
        model = ridge(kernel="rbf", gamma=0.5 / width**2, alpha=noise)
        return make_pipeline(_standardised(categorical), _centred(model))

    boosting: Any = HistGradientBoostingRegressor
    ridge: Any = KernelRidge
    return {
        "linear": polynomial(1),
        "quadratic": polynomial(2),
        "cubic": polynomial(3),
        **{
            f"kernel ridge, width {width}, noise {noise}": kernel(width, noise)
            for width in (2.0, 1.0)
            for noise in (0.1, 0.01)
        },
        "boosting": make_pipeline(
            _standardised(categorical), boosting(early_stopping=False, random_state=seed)
        ),
    }


def _centred(model: Any) -> Any:
    """The regressor of a standardised target: kernel ridge regression has no intercept."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.preprocessing import StandardScaler

    return TransformedTargetRegressor(model, transformer=StandardScaler())


def _standardised(categorical: np.ndarray) -> Any:
    """Numbers are standardised, and categories become indicators."""
    from sklearn.compose import make_column_transformer
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    encoder = OneHotEncoder(sparse_output=False, handle_unknown="ignore")
    return make_column_transformer(
        (StandardScaler(), np.flatnonzero(~categorical)), (encoder, np.flatnonzero(categorical))
    )
