"""SAP: the gap between the two dimensions that predict a factor best."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from cdis.metrics.arrays import Factors, check, need_every_value, need_rows, split, standardised

_PENALTY = 0.01
_NEWTON_STEPS = 60


def sap(
    representations: np.ndarray,
    factors: np.ndarray,
    *,
    num_train: int = 10_000,
    num_test: int = 5_000,
    continuous: bool | Sequence[bool] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Separated attribute predictability (Kumar et al., 2018, arXiv 1711.00848, section 3).

    Predictability is, for a discrete factor, the held-out accuracy of a linear support vector
    machine on one dimension, with disentanglement_lib's settings (squared hinge, C = 0.01, balanced
    classes, one-vs-rest); for a continuous factor, the squared correlation on training rows. The
    score is the mean over factors of the best dimension's predictability minus the second best's.

    Perfect codes score far below 1, about 0.28 for the factor sizes of Shapes3D: one-vs-rest
    classifiers on one axis cannot separate the values in between, and an uninformative dimension is
    right by chance. Invariant to permutation, but not to rescaling, since dimensions are not
    standardised and the penalty depends on their scale.

    Args:
      representations: ``[n, d]``, d at least 2.
      factors: ``[n, F]``.
      num_train, num_test: rows for training and testing; split 2 : 1 if there are fewer.
      continuous: which factors are continuous; see `cdis.metrics.arrays.check`.

    Returns:
      ``score``, ``per_factor`` gaps, ``best_dimension`` of each factor, ``predictability``
      ``[d][F]``, ``num_train``, ``num_test``.

    Raises:
      UnsuitableData: see `cdis.metrics.arrays.check`; values too rare to learn.
    """
    z, y = check(representations, factors, min_dimensions=2, continuous=continuous)
    need_rows(len(z), 10, "SAP")
    train, test = split(len(z), num_train, num_test, seed)
    need_every_value(y, train, 2, "SAP")
    predictability = np.empty((z.shape[1], y.count))
    for dimension, column in enumerate(z.T):
        predictability[dimension] = _predictability(column, y, train, test)
    ordered = np.sort(predictability, axis=0)
    gaps = ordered[-1] - ordered[-2]
    return {
        "score": float(gaps.mean()),
        "per_factor": gaps.tolist(),
        "best_dimension": predictability.argmax(0).tolist(),
        "predictability": predictability.tolist(),
        "num_train": len(train),
        "num_test": len(test),
    }


def _predictability(
    column: np.ndarray, y: Factors, train: np.ndarray, test: np.ndarray
) -> list[float]:
    result = []
    for factor in range(y.count):
        if y.continuous[factor]:
            pair = standardised(np.stack([column, y.values[:, factor]], 1)[train])
            result.append(float(pair.prod(1).mean() ** 2))
            continue
        label, size = y.labels[:, factor], int(y.sizes[factor])
        slope, offset = linear_svms(column[train], label[train], size, penalty=_PENALTY)
        margins = np.multiply.outer(column[test], slope) + offset
        answer = margins.argmax(1) if size > 2 else (margins[:, 0] > 0).astype(int)
        result.append(float((answer == label[test]).mean()))
    return result


class _Sums(NamedTuple):
    """Cumulative sums over samples sorted by x; row k sums the first k."""

    x: Float[np.ndarray, " n"]
    own: Float[np.ndarray, "n+1 classes 3"]  #: of 1, x and x^2 over the samples of each class
    all: Float[np.ndarray, "n+1 3"]  #: over all samples


def linear_svms(
    x: Float[np.ndarray, " n"], label: Int[np.ndarray, " n"], classes: int, *, penalty: float
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Slopes w and offsets b of balanced linear support vector machines on one dimension.

    Minimises, for each class against the rest (with two classes: the second against the first),

        (w^2 + b^2) / 2 + penalty sum over n of weight_n max(0, 1 - s_n (w x_n + b))^2

    as liblinear does: the weight is n / (classes n_c) for a sample of class c in its own machine,
    and 1 for all other samples (with two classes, both sides are balanced). In one dimension the
    samples that violate the margin form an interval, so cumulative sums over sorted samples give
    the gradient and the Hessian, and Newton's method with step halving needs no pass over the data.
    """
    order = np.argsort(x, kind="stable")
    x, label = x[order], label[order]
    powers = np.stack([np.ones_like(x), x, x * x], 1)
    own = np.zeros((len(x) + 1, classes, 3))
    own[np.arange(1, len(x) + 1), label] = powers
    np.cumsum(own, axis=0, out=own)
    sums = _Sums(x, own, own.sum(1))
    balanced = len(x) / (classes * own[-1, :, 0])
    if classes == 2:
        solved = [_newton(sums, 1, penalty * balanced[1], penalty * balanced[0])]
    else:
        solved = [_newton(sums, c, penalty * balanced[c], penalty) for c in range(classes)]
    slope, offset = np.array(solved).T
    return slope, offset


def _newton(sums: _Sums, positive: int, cost_own: float, cost_rest: float) -> np.ndarray:
    """Minimum of the machine of class `positive`; see `linear_svms`."""
    w = np.zeros(2)
    value, gradient, hessian = _objective(sums, positive, cost_own, cost_rest, w)
    for _ in range(_NEWTON_STEPS):
        step = np.linalg.solve(hessian, gradient)
        size, descent = 1.0, float(gradient @ step)
        if descent < 1e-12 * max(value, 1e-12):
            break
        while True:
            tried = _objective(sums, positive, cost_own, cost_rest, w - size * step)
            if tried[0] <= value - 1e-4 * size * descent or size < 1e-6:
                break
            size /= 2
        w = w - size * step
        value, gradient, hessian = tried
    return w


def _objective(
    sums: _Sums, positive: int, cost_own: float, cost_rest: float, w: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Value, gradient and generalised Hessian with respect to (slope, offset)."""
    value, gradient, hessian = float(w @ w) / 2, w.copy(), np.eye(2)
    for sign, cost in ((1.0, cost_own), (-1.0, cost_rest)):
        inside = _within(sums, w, sign)
        total = sums.own[:, positive]
        if sign < 0:
            total = sums.all - total
        one, x, square = total[inside[1]] - total[inside[0]]
        # For the samples inside, the hinge is 1 - sign (w x + b).
        moments = np.array([[square, x], [x, one]])
        linear = sign * np.array([x, one])
        value += cost * float(one - 2 * linear @ w + w @ moments @ w)
        gradient += 2 * cost * (moments @ w - linear)
        hessian += 2 * cost * moments
    return value, gradient, hessian


def _within(sums: _Sums, w: np.ndarray, sign: float) -> tuple[int, int]:
    """The range of sorted samples with sign (w x + b) < 1."""
    slope, offset = sign * w
    n = len(sums.x)
    if slope == 0:
        return (0, n) if offset < 1 else (0, 0)
    edge = np.searchsorted(sums.x, (1 - offset) / slope, side="left" if slope > 0 else "right")
    return (0, int(edge)) if slope > 0 else (int(edge), n)
