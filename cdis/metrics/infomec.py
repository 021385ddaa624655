"""InfoMEC: modularity, compactness and explicitness in one information-theoretic framework."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from cdis.metrics.arrays import (
    Factors,
    UnsuitableData,
    canonical_order,
    check,
    need_every_value,
    need_preset,
    need_rows,
    quiet_convergence,
    sample,
    standardised,
)
from cdis.metrics.information import entropies, mutual_information


class _Preset(NamedTuple):
    help: str  #: a few words
    neighbours: int  #: of the estimator of mutual information
    width: str  #: how the width of a dimension is measured: "range" or "iqr" (interquartile)
    active_above: float  #: a dimension is active above this fraction of the largest width
    discrete_above: float  #: a discrete dimension is active above this width; -1: as the others


PRESETS = {
    "latent_quantization": _Preset("the authors' repository", 10, "range", 1 / 20, 0),
    "latent_quantization_first": _Preset("its first version", 3, "range", 1 / 8, -1),
    "tripod": _Preset("the authors' later paper", 10, "iqr", 1 / 10, 0.1),
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

    Let N = I(dimension; factor) / H(factor) for the active dimensions. InfoM is the mean over
    dimensions of max / sum along factors, rescaled from [1 / F, 1] to [0, 1]. InfoC is the same
    over factors, along the K active dimensions. InfoE is the mean over factors of 1 - CE / CE_null
    for an unpenalised linear model on all dimensions, evaluated on its training rows: a logistic
    regression with balanced classes (CE_null = log of their number), or a linear regression, for
    which it is R^2.

    Mutual information is estimated from nearest neighbours (Ross, 2014; Kraskov et al., 2004), or
    from counts if the dimensions are discrete. The authors published three versions:

        latent_quantization  10 neighbours; a dimension is active if its range exceeds 1/20 of the
            largest, or, if discrete, if it varies at all. The paper's repository; the default
        latent_quantization_first  3 neighbours; 1/8 of the largest range, for discrete dimensions
            too. The first version of the repository
        tripod  10 neighbours; interquartile range above 1/10 of the largest, or above 0.1 for
            discrete dimensions. Hsu et al., 2024, arXiv 2404.10282

    Perfect codes score 1 in InfoM and InfoC, up to spurious information from the nearest-neighbour
    estimate, and 1 in InfoE, up to the incomplete convergence of 100 iterations. Invariant to
    permutation. Rescaling single dimensions changes which are active.

    Args:
      representations: ``[n, d]``, d at least 2.
      factors: ``[n, F]``, F at least 2.
      preset: see above.
      discrete_dimensions: whether codes are symbols. None: if the array has an integer type.
      num_samples: use at most this many rows, sampled at random; None uses all.
      continuous: which factors are continuous; see `cdis.metrics.arrays.check`. None may be if the
        dimensions are discrete.

    Returns:
      ``modularity``, ``compactness``, ``explicitness``; ``per_dimension`` max / sum along factors
      (None where inactive or dead) and ``per_factor`` max / sum along dimensions, not rescaled;
      ``explicitness_per_factor``; ``information`` N ``[d][F]``; ``active_dimensions``;
      ``dead_dimensions``, active but without information, which InfoM leaves out;
      ``uninformed_factors``, about which no active dimension has information, and which count as
      uniform; ``converged`` for each factor; ``preset``; ``num_samples``.

    Raises:
      UnsuitableData: see `cdis.metrics.arrays.check`; fewer than two active dimensions; a value
        that occurs no more often than there are neighbours.
      UserError: no such preset.
    """
    need_preset(preset, PRESETS, "InfoMEC")
    chosen = PRESETS[preset]
    z, y = check(representations, factors, min_dimensions=2, min_factors=2, continuous=continuous)
    if discrete_dimensions is None:
        discrete_dimensions = np.asarray(representations).dtype.kind in "biu"
    if discrete_dimensions and y.continuous.any():
        raise UnsuitableData(
            "InfoMEC cannot estimate the information of discrete dimensions about continuous "
            "factors. Bin the factors, or give the dimensions as floating-point numbers."
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
            f"InfoMEC's preset {preset} finds {active.sum()} active dimension(s) but needs at "
            "least two: the ranges of the others are too small compared to the largest. Rescale "
            "the dimensions, or use another preset."
        )
    information = _information(z, y, chosen.neighbours, discrete_dimensions, seed)
    live = active & (information.sum(1) > 0)
    if not live.any():
        raise UnsuitableData(
            "No active dimension has any information about any factor, so InfoM is 0/0."
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
    if preset.width == "iqr":
        low, high = np.quantile(z, [0.25, 0.75], axis=0)
        width = high - low
    else:
        width = np.ptp(z, axis=0)
    if discrete and preset.discrete_above >= 0:
        return width > preset.discrete_above
    return width > preset.active_above * width.max()


def _information(
    z: np.ndarray, y: Factors, neighbours: int, discrete: bool, seed: int
) -> Float[np.ndarray, "d f"]:
    """N: mutual information of each dimension with each factor, divided by H(factor)."""
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
    """1 - CE / CE_null of a linear model of each factor, or its R^2; and whether it converged."""
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
