"""How much two sets of variables depend on one another, as a term of a loss."""

import chex
import jax.numpy as jnp
from jaxtyping import Array, Float

_LEAST = 1e-12


def distance_correlation(x: Float[Array, "b p"], y: Float[Array, "b q"]) -> Float[Array, ""]:
    """Bias-corrected squared distance correlation of two samples of the same b >= 4 rows.

    Székely and Rizzo, "Partial distance correlation with methods for dissimilarities" (2014),
    equations 2.5 and 2.6. Near zero for independent variables, whatever their dimensions (it may
    fall below), 1 if one is a rotated, scaled and shifted copy of the other. Unlike a correlation,
    it sees any kind of dependence.
    """
    chex.assert_equal_shape_prefix([x, y], 1)
    a, b = _centred_distances(x), _centred_distances(y)
    variances = jnp.sum(a * a) * jnp.sum(b * b)
    return jnp.sum(a * b) / jnp.sqrt(jnp.maximum(variances, _LEAST))


def _centred_distances(x: Float[Array, "b p"]) -> Float[Array, "b b"]:
    """Euclidean distances of rows, centred so that products of two such matrices are unbiased."""
    n = len(x)
    off_diagonal = ~jnp.eye(n, dtype=bool)
    squares = jnp.square(x[:, None] - x[None]).sum(-1)
    # The slope of a square root at 0 is infinite; equal rows have distance 0 and slope 0.
    apart = squares > 0
    distances = jnp.where(apart, jnp.sqrt(jnp.where(apart, squares, 1.0)), 0.0)
    rows = distances.sum(1, keepdims=True) / (n - 2)
    total = distances.sum() / ((n - 1) * (n - 2))
    return jnp.where(off_diagonal, distances - rows - rows.T + total, 0.0)
