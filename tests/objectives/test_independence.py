"""Distance correlation: the literal sums, independent and dependent variables, gradients."""

import jax
import jax.numpy as jnp
import numpy as np

from cdis.objectives.independence import distance_correlation


def _literal(x: np.ndarray, y: np.ndarray) -> float:
    """The definition, entry by entry."""
    n = len(x)

    def centred(v: np.ndarray) -> np.ndarray:
        a = np.array([[np.sqrt(sum((v[i] - v[j]) ** 2)) for j in range(n)] for i in range(n)])
        result = np.zeros((n, n))
        for i, j in np.ndindex(n, n):
            if i != j:
                result[i, j] = a[i, j] - sum(a[i]) / (n - 2) - sum(a[:, j]) / (n - 2)
                result[i, j] += a.sum() / ((n - 1) * (n - 2))
        return result

    def product(a: np.ndarray, b: np.ndarray) -> float:
        pairs = [a[i, j] * b[i, j] for i in range(n) for j in range(n) if i != j]
        return sum(pairs) / (n * (n - 3))

    a, b = centred(x), centred(y)
    return product(a, b) / np.sqrt(product(a, a) * product(b, b))


def _samples(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3)), rng.normal(size=(n, 2))


def test_it_is_the_literal_definition():
    x, y = _samples(12)
    y = y + np.abs(x[:, :2])
    found = distance_correlation(jnp.asarray(x), jnp.asarray(y))
    np.testing.assert_allclose(found, _literal(x, y), rtol=1e-4)


def test_independent_variables_have_none_on_average():
    found = [float(distance_correlation(*map(jnp.asarray, _samples(64, s)))) for s in range(40)]
    assert abs(np.mean(found)) < 0.01 and np.std(found) < 0.06


def test_dependence_without_correlation_is_seen():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(200, 1)))
    assert abs(np.corrcoef(x[:, 0], x[:, 0] ** 2)[0, 1]) < 0.2
    assert distance_correlation(x, x**2) > 0.2
    np.testing.assert_allclose(distance_correlation(x, 5 - 3 * x), 1.0, rtol=1e-4)


def test_its_gradient_is_finite_for_equal_rows_and_lowers_it():
    x, y = map(jnp.asarray, _samples(32))
    x = x.at[1].set(x[0])
    y = y + x[:, :2]
    slope = jax.grad(lambda y: distance_correlation(x, y))(y)
    assert np.isfinite(slope).all()
    assert distance_correlation(x, y - 0.5 * slope) < distance_correlation(x, y)
