"""InfoMEC: modularity, compactness and explicitness in one information-theoretic frame."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from cdis.errors import UserError
from cdis.metrics.arrays import (
    Factors,
    UnsuitableData,
    canonical_order,
    check,
    need_every_value,
    need_rows,
    quiet_convergence,
    sample,
    standardised,
)
from cdis.metrics.information import entropies, mutual_information


class _Preset(NamedTuple):
    neighbours: int  #: of the estimator of mutual information
    spread: str  #: a dimension's spread: "range", or "iqr" between the quartiles
    active_above: float  #: this share of the widest continuous dimension's spread
    discrete_above: float  #: a discrete dimension is active above this spread


PRESETS = {
    "latent_quantization": _Preset(10, "range", 1 / 20, 0),
    "latent_quantization_first": _Preset(3, "range", 1 / 8, -1),
    "tripod": _Preset(10, "iqr", 1 / 10, 0.1),
}


def infomec(
    representations: np.ndarray,
    factors: np.ndarray,
    *,
    preset: str = "latent_quantization",
    discrete_dimensions: bool | None = None,
    num_samples: int | None = 10_000,
    continuous: bool | Sequence[bool] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """InfoM, InfoC and InfoE (Hsu et al., 2023, arXiv 2305.18378, section 4).

    With N = I(dimension; factor) / H(factor) on the active dimensions, InfoM is the mean over
    dimensions of max / sum along the factors, scaled from [1 / F, 1] to [0, 1]; InfoC likewise over
    factors along the K active dimensions; InfoE is the mean over factors of 1 - CE / CE_null of an
    unpenalised linear model on all dimensions, on the rows it was fitted to: logistic with balanced
    classes (CE_null = log of their number), or linear, where it is R^2.

    Mutual information is estimated from nearest neighbours (Ross, 2014; Kraskov et al., 2004), or
    counted if the dimensions are discrete. The authors published three versions:

        latent_quantization  10 neighbours; active: range > widest range / 20, or any variation of
            discrete dimensions. The paper's repository; the default
        latent_quantization_first  3 neighbours; range > widest / 8, of discrete dimensions too. Its
            first version
        tripod  10 neighbours; interquartile range > widest / 10, or 0.1 of discrete dimensions.
            Hsu et al., 2024, arXiv 2404.10282

    Perfect codes score 1 in InfoM and InfoC, up to the spurious information that neighbours find,
    and 1 in InfoE up to where its 100 steps of optimisation end. Blind to permutation. Rescaling
    single dimensions changes which are active.

    Args:
      representations: ``[n, d]``, d at least 2.
      factors: ``[n, F]``, F at least 2.
      preset: see above.
      discrete_dimensions: are codes symbols? None: if all are integers in an integer array.
      num_samples: at most so many rows are drawn; None takes all.
      continuous: which factors are quantities; see `cdis.metrics.arrays.check`. Not together with
        discrete dimensions.

    Returns:
      ``modularity``, ``compactness``, ``explicitness``; ``per_dimension`` share of the best factor
      (None where inactive or dead) and ``per_factor`` share of the best dimension, unscaled;
      ``explicitness_per_factor``; ``information`` N ``[d][F]``; ``active_dimensions``;
      ``dead_dimensions``, active but without information, which InfoM leaves out;
      ``uninformed_factors``, of which no active dimension knows anything and which count as
      evenly spread; ``converged`` for each factor; ``preset``.

    Raises:
      UnsuitableData: see `cdis.metrics.arrays.check`; fewer than two dimensions are active; a value
        is in fewer rows than there are neighbours.
      UserError: no such preset.
    """
    if preset not in PRESETS:
        raise UserError(f"InfoMEC has no preset {preset!r}, but {', '.join(PRESETS)}.")
    chosen = PRESETS[preset]
    z, y = check(representations, factors, min_dimensions=2, min_factors=2, continuous=continuous)
    if discrete_dimensions is None:
        discrete_dimensions = np.asarray(representations).dtype.kind in "biu"
    if discrete_dimensions and y.continuous.any():
        raise UnsuitableData(
            "InfoMEC has no estimate of discrete dimensions' information about continuous factors. "
            "Bin the factors, or give the dimensions as floating-point numbers."
        )
    need_rows(len(z), 10 * chosen.neighbours, f"InfoMEC with {preset}")
    rows = sample(len(z), num_samples, seed)
    need_every_value(y, rows, chosen.neighbours + 1, f"InfoMEC with {preset}")
    order = canonical_order(z)
    inverse = np.argsort(order)
    z = z[np.ix_(rows, order)]
    y = y._replace(values=y.values[rows], labels=y.labels[rows])

    active = _active(z, chosen, discrete_dimensions)
    if active.sum() < 2:
        raise UnsuitableData(
            f"InfoMEC's preset {preset} finds {active.sum()} active dimension(s) and compares at "
            "least two: the spreads of the others are too small beside the widest. Rescale the "
            "dimensions, or take another preset."
        )
    information = _information(z, y, chosen.neighbours, discrete_dimensions, seed)
    live = active & (information.sum(1) > 0)
    if not live.any():
        raise UnsuitableData(
            "No active dimension has any information about any factor, so that InfoM is 0/0."
        )
    along_factors = information[live].max(1) / information[live].sum(1)
    known = information[active].sum(0) > 0
    along_dimensions = np.full(y.count, 1 / active.sum())
    along_dimensions[known] = (information[active].max(0) / information[active].sum(0))[known]
    per_factor, converged = _explicitness(z, y, discrete_dimensions)
    per_dimension: list[float | None] = [None] * len(active)
    for dimension, value in zip(np.flatnonzero(live), along_factors, strict=True):
        per_dimension[order[dimension]] = float(value)
    return {
        "modularity": _scaled(along_factors.mean(), y.count),
        "compactness": _scaled(along_dimensions.mean(), int(active.sum())),
        "explicitness": float(np.mean(per_factor)),
        "per_dimension": per_dimension,
        "per_factor": along_dimensions.tolist(),
        "explicitness_per_factor": per_factor,
        "information": information[inverse].tolist(),
        "active_dimensions": np.flatnonzero(active[inverse]).tolist(),
        "dead_dimensions": np.flatnonzero((active & ~live)[inverse]).tolist(),
        "uninformed_factors": np.flatnonzero(~known).tolist(),
        "converged": converged,
        "preset": preset,
        "num_samples": len(rows),
    }


def _active(z: np.ndarray, preset: _Preset, discrete: bool) -> Bool[np.ndarray, " d"]:
    if preset.spread == "iqr":
        low, high = np.quantile(z, [0.25, 0.75], axis=0)
        spread = high - low
    else:
        spread = np.ptp(z, axis=0)
    if discrete and preset.discrete_above >= 0:
        return spread > preset.discrete_above
    return spread > preset.active_above * spread.max()


def _information(
    z: np.ndarray, y: Factors, neighbours: int, discrete: bool, seed: int
) -> Float[np.ndarray, "d f"]:
    """Share of each factor's entropy that each dimension knows."""
    from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

    if discrete:
        codes = np.stack([np.unique(column, return_inverse=True)[1] for column in z.T], 1)
        return mutual_information(codes, y.labels, y.sizes) / entropies(y.labels)
    z = standardised(z)
    varies = np.ptp(z, axis=0) > 0
    settings: dict[str, Any] = {
        "discrete_features": False,
        "n_neighbors": neighbours,
        "random_state": seed,
    }
    result = np.zeros((z.shape[1], y.count))
    for factor in range(y.count):
        if y.continuous[factor]:
            value = y.values[:, factor]
            entropy = mutual_info_regression(value[:, None], value, **settings)[0]
            found = mutual_info_regression(z[:, varies], value, **settings)
        else:
            label = y.labels[:, factor]
            entropy = entropies(label[:, None])[0]
            found = mutual_info_classif(z[:, varies], label, **settings)
        result[varies, factor] = found / entropy
    return result


def _explicitness(z: np.ndarray, y: Factors, discrete: bool) -> tuple[list[float], list[bool]]:
    """Share of each factor's cross-entropy, or variance, that a linear model takes away."""
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.preprocessing import OneHotEncoder

    x: Any = OneHotEncoder().fit_transform(z) if discrete else standardised(z)
    scores, converged = [], []
    for factor in range(y.count):
        if y.continuous[factor]:
            value = y.values[:, factor]
            scores.append(float(LinearRegression().fit(x, value).score(x, value)))
            converged.append(True)
            continue
        label = y.labels[:, factor]
        model = LogisticRegression(C=np.inf, class_weight="balanced", max_iter=100)
        with quiet_convergence():
            model.fit(x, label)
        converged.append(bool(model.n_iter_.max() < model.max_iter))
        scores.append(float(1 - log_loss(label, model.predict_proba(x)) / np.log(y.sizes[factor])))
    return scores, converged


def _scaled(mean: float, count: int) -> float:
    """From [1 / count, 1] to [0, 1]."""
    return float((mean - 1 / count) / (1 - 1 / count))
