"""The one-dimensional support vector machines against their definition and against scikit-learn."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.svm import LinearSVC

from cdis.metrics.sap import linear_svms, sap

RANDOM = np.random.default_rng(0)


def literal_objective(w, x, sign, weight, penalty):
    hinge = np.maximum(0, 1 - sign * (w[0] * x + w[1]))
    return (w @ w) / 2 + penalty * (weight * hinge**2).sum()


@pytest.mark.parametrize("classes", [2, 5])
def test_minimises_its_objective(classes):
    label = np.concatenate([np.arange(classes), RANDOM.integers(classes, size=300)])
    x = np.round(label + RANDOM.normal(size=len(label)), 1)  # with ties
    slope, offset = linear_svms(x, label, classes, penalty=0.01)
    balanced = len(x) / (classes * np.bincount(label))
    for machine, own in enumerate([1] if classes == 2 else range(classes)):
        weight = np.where(label == own, balanced[own], balanced[0] if classes == 2 else 1)
        arguments = (x, np.where(label == own, 1, -1), weight, 0.01)
        found = literal_objective(np.array([slope[machine], offset[machine]]), *arguments)
        best = minimize(literal_objective, np.zeros(2), arguments, method="Nelder-Mead", tol=1e-10)
        assert found <= best.fun * (1 + 1e-9)


def test_agrees_with_scikit_learn():
    label = RANDOM.integers(4, size=600)
    x = label + 0.7 * RANDOM.normal(size=600)
    slope, offset = linear_svms(x, label, 4, penalty=0.01)
    answer = (np.multiply.outer(x, slope) + offset).argmax(1)
    model = LinearSVC(C=0.01, class_weight="balanced", tol=1e-8, max_iter=100_000)
    theirs = model.fit(x[:, None], label)
    np.testing.assert_allclose(slope, theirs.coef_[:, 0], atol=1e-4)
    np.testing.assert_allclose(offset, theirs.intercept_, atol=1e-4)
    assert (answer == theirs.predict(x[:, None])).mean() > 0.995


def test_perfect_codes_at_the_sizes_of_shapes3d():
    y = np.random.default_rng(0).integers((10, 10, 10, 8, 4, 15), size=(15_000, 6))
    assert sap(y.astype(float), y)["score"] == pytest.approx(0.28, abs=0.02)


def test_continuous_factors_by_squared_correlation():
    y = RANDOM.random((300, 2))
    z = np.stack([y[:, 0], y[:, 1] + 0.2 * RANDOM.normal(size=300)], 1)
    result = sap(z, y, num_train=200, num_test=100)
    train = np.random.default_rng(0).permutation(300)[:200]
    correlation = np.corrcoef(z[train].T, y[train].T)[:2, 2:] ** 2
    np.testing.assert_allclose(result["predictability"], correlation)
