"""Modularity and explicitness (Ridgeway and Mozer, 2018, arXiv 1802.05312, section 3)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cdis.metrics.arrays import (
    UnsuitableData,
    canonical_order,
    check,
    need_discrete,
    need_every_value,
    need_rows,
    quiet_convergence,
    sample,
    split,
    standardised,
)
from cdis.metrics.information import binned, equal_width_bins, mutual_information


def modularity(
    representations: np.ndarray,
    factors: np.ndarray,
    *,
    num_bins: int = 20,
    num_samples: int | None = 10_000,
    continuous: bool | Sequence[bool] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Is each dimension informative about one factor only?

    Per dimension ``1 - sum of I^2 over all factors but the best / (best I^2 (F - 1))``, with mutual
    information from histograms; the score is the mean. For a dimension without any information this
    is 0/0: it is left out of the mean and listed. A dimension of independent noise still has some
    spurious information, so it counts, with a value that depends on chance.

    For independent factors, perfect codes and copies of them score 1, up to spurious information.
    Invariant to permutation and to positive rescaling.

    Args:
      representations: ``[n, d]``.
      factors: ``[n, F]``, F at least 2.
      num_bins: of equal width, for dimensions and continuous factors.
      num_samples: use at most this many rows, sampled at random; None uses all.
      continuous: which factors are continuous; see `cdis.metrics.arrays.check`.

    Returns:
      ``score``, ``per_dimension`` (None where dead), ``dead_dimensions`` (without information),
      ``best_factor`` of each dimension, ``mutual_information`` ``[d][F]`` in nats,
      ``num_samples``.

    Raises:
      UnsuitableData: see `cdis.metrics.arrays.check`; every dimension is dead.
    """
    z, y = check(representations, factors, continuous=continuous, min_factors=2)
    need_rows(len(z), 2 * num_bins, f"A histogram of {num_bins} bins")
    rows = sample(len(z), num_samples, seed)
    y = binned(y, num_bins)
    information = mutual_information(equal_width_bins(z[rows], num_bins), y.labels[rows], y.sizes)
    squares = information**2
    best = squares.max(1)
    live = best > 1e-18
    if not live.any():
        raise UnsuitableData(
            "No dimension has any information about any factor, so modularity is 0/0."
        )
    rest = squares.sum(1) - best
    values = 1 - rest[live] / (best[live] * (y.count - 1))
    per_dimension: list[float | None] = [None] * len(live)
    for dimension, value in zip(np.flatnonzero(live), values, strict=True):
        per_dimension[dimension] = float(value)
    return {
        "score": float(values.mean()),
        "per_dimension": per_dimension,
        "dead_dimensions": np.flatnonzero(~live).tolist(),
        "best_factor": information.argmax(1).tolist(),
        "mutual_information": information.tolist(),
        "num_samples": len(rows),
    }


def explicitness(
    representations: np.ndarray,
    factors: np.ndarray,
    *,
    num_train: int = 10_000,
    num_test: int = 5_000,
    continuous: bool | Sequence[bool] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Can a linear classifier predict the factors?

    For every value of every factor, the held-out area under the ROC curve of a logistic regression
    on all standardised dimensions; the score is the mean over values, then over factors. Chance is
    0.5: ``normalised`` is ``2 score - 1``. There is one multinomial regression per factor, so that
    values in the middle of an axis can be separated as well (the paper fits one against the rest
    for each value).

    Perfect codes score 1. Invariant to permutation and to rescaling.

    Args:
      representations: ``[n, d]``.
      factors: ``[n, F]``, discrete.
      num_train, num_test: rows for training and testing; split 2 : 1 if there are fewer.
      continuous: which factors are continuous; none may be. See `cdis.metrics.arrays.check`.

    Returns:
      ``score``, ``normalised``, ``per_factor``, ``per_value`` (a list per factor), ``train`` (the
      score on the training rows), ``converged`` for each factor, ``num_train``, ``num_test``.

    Raises:
      UnsuitableData: see `cdis.metrics.arrays.check`; continuous factors; values too rare to learn.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    z, y = check(representations, factors, continuous=continuous)
    need_discrete(y, "Explicitness")
    train, test = split(len(z), num_train, num_test, seed)
    need_every_value(y, train, 2, "Explicitness")
    need_every_value(y, test, 1, "The test of explicitness")
    z = standardised(z)[:, canonical_order(z)]
    per_value, on_train, converged = [], [], []
    for label, size in zip(y.labels.T, y.sizes, strict=True):
        model = LogisticRegression(max_iter=300)
        with quiet_convergence():
            model.fit(z[train], label[train])
        converged.append(bool(model.n_iter_.max() < model.max_iter))
        areas = []
        for rows in (test, train):
            probabilities = model.predict_proba(z[rows])
            hits = label[rows, None] == np.arange(size)
            areas.append([roc_auc_score(hits[:, v], probabilities[:, v]) for v in range(size)])
        per_value.append(list(map(float, areas[0])))
        on_train.append(np.mean(areas[1]))
    per_factor = [float(np.mean(values)) for values in per_value]
    score = float(np.mean(per_factor))
    return {
        "score": score,
        "normalised": 2 * score - 1,
        "per_factor": per_factor,
        "per_value": per_value,
        "train": float(np.mean(on_train)),
        "converged": converged,
        "num_train": len(train),
        "num_test": len(test),
    }
