"""BetaVAE and FactorVAE scores: which factor was fixed in a batch?

Both need a crossed design: any factor can be fixed while all others vary. Batches are drawn from
the given rows themselves, with replacement, given the fixed value. Drawing and reducing millions of
rows is what takes the time, and is compiled.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cdis.metrics.arrays import (
    Factors,
    UnsuitableData,
    canonical_order,
    check,
    need_crossed,
    need_every_value,
    quiet_convergence,
    sample,
    standardised,
)

_CHUNK = 500  # batches at a time, so that a few megabytes suffice
_LEAST = 2  # rows of every value, so that something can vary while it is fixed


class _Groups(NamedTuple):
    """Rows sorted by the value of each factor."""

    order: Int[Array, "f n"]
    start: Int[Array, "f n"]  #: of the group of each row's value, in that order
    size: Int[Array, "f n"]


def beta_vae(
    representations: np.ndarray,
    factors: np.ndarray,
    *,
    num_train: int = 10_000,
    num_test: int = 5_000,
    batch_size: int = 64,
    continuous: bool | Sequence[bool] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """BetaVAE score (Higgins et al., 2017, section 3).

    A point is the mean, over a batch of pairs of rows that agree in one factor, of the absolute
    difference of their codes; a logistic regression tells from it which factor that was, and its
    accuracy on fresh points is the score. Chance is 1 / F.

    Perfect codes score 1, and so does any invertible linear mix that leaves each factor's
    difference pattern recognisable: the score is lenient. Dimensions are divided by their standard
    deviation first (disentanglement_lib takes them as they come, and its penalty then favours
    large ones), so that positive rescaling does not matter; neither does permutation.

    Args:
      representations: ``[n, d]``.
      factors: ``[n, F]``, discrete and crossed, F at least 2.
      num_train, num_test: points to learn from and to score.
      batch_size: pairs in a point.
      continuous: which factors are quantities, of which there must be none; see
        `cdis.metrics.arrays.check`.

    Returns:
      ``score``, ``train`` (accuracy on the points learnt from), ``per_factor`` accuracy,
      ``confusion`` (counts, rows are true factors), ``chance``, ``converged``.

    Raises:
      UnsuitableData: see `cdis.metrics.arrays.check`; not crossed; values in one row only.
    """
    from sklearn.linear_model import LogisticRegression

    z, y, _ = _prepared(representations, factors, continuous, "The BetaVAE score")
    key = jax.random.key(seed)
    points, fixed = _points(key, z, _groups(y), num_train + num_test, batch_size, "difference")
    model = LogisticRegression(max_iter=500)
    with quiet_convergence():
        model.fit(points[:num_train], fixed[:num_train])
    answer = model.predict(points[num_train:])
    truth = fixed[num_train:]
    confusion = np.bincount(truth * y.count + answer, minlength=y.count**2)
    confusion = confusion.reshape(y.count, y.count)
    return {
        "score": float((answer == truth).mean()),
        "train": float(model.score(points[:num_train], fixed[:num_train])),
        "per_factor": (np.diag(confusion) / confusion.sum(1)).tolist(),
        "confusion": confusion.tolist(),
        "chance": 1 / y.count,
        "converged": bool(model.n_iter_.max() < model.max_iter),
        "num_train": num_train,
        "num_test": num_test,
    }


def factor_vae(
    representations: np.ndarray,
    factors: np.ndarray,
    *,
    num_train: int = 10_000,
    num_test: int = 5_000,
    num_variance: int = 10_000,
    batch_size: int = 64,
    prune_below: float = 0.05,
    continuous: bool | Sequence[bool] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """FactorVAE score (Kim and Mnih, 2018, arXiv 1802.05983, section 4).

    In a batch with one factor fixed, the dimension whose variance is smallest, relative to its
    variance over all rows, casts a vote for that factor. Each dimension stands for the factor that
    most of its votes in training name; the score is the share of fresh votes that it gets right.

    Dimensions with a standard deviation below `prune_below` are left out (disentanglement_lib's
    0.05; `disent` leaves none out); the score is blind to permutation, and to positive rescaling as
    long as no dimension crosses that threshold. Perfect codes score 1; chance is 1 / F.

    Args:
      representations: ``[n, d]``.
      factors: ``[n, F]``, discrete and crossed, F at least 2.
      num_train, num_test: votes to learn from and to score.
      num_variance: rows for the overall variances.
      batch_size: rows in a batch.
      prune_below: absolute; 0 keeps all dimensions that vary at all.
      continuous: which factors are quantities, of which there must be none; see
        `cdis.metrics.arrays.check`.

    Returns:
      ``score``, ``train`` (share of training votes), ``per_factor``, ``votes`` ``[d][F]`` of
      training, ``pruned_dimensions``, ``chance``.

    Raises:
      UnsuitableData: see `cdis.metrics.arrays.check`; not crossed; values in one row only; no
        dimension is left.
    """
    z, y, order = _prepared(
        representations, factors, continuous, "The FactorVAE score", scale=False
    )
    spread = z[sample(len(z), num_variance, seed)].std(0, ddof=1)
    kept = (spread >= prune_below) & (spread > 0)
    if not kept.any():
        raise UnsuitableData(
            f"No dimension has a standard deviation of {prune_below} or more, so that the "
            "FactorVAE score leaves out all of them. Rescale the representations or lower "
            "`prune_below`."
        )
    scaled = z[:, kept] / spread[kept]
    key = jax.random.key(seed)
    points, fixed = _points(key, scaled, _groups(y), num_train + num_test, batch_size, "variance")
    votes = np.flatnonzero(kept)[points.argmin(1)]
    counts = [
        np.bincount(votes[part] * y.count + fixed[part], minlength=z.shape[1] * y.count)
        .reshape(-1, y.count)
        for part in (slice(num_train), slice(num_train, None))
    ]  # fmt: skip
    stands_for = counts[0].argmax(1)
    right = np.take_along_axis(counts[1], stands_for[:, None], 1)[:, 0]
    hits = np.bincount(stands_for, weights=right, minlength=y.count)
    inverse = np.argsort(order)
    return {
        "score": float(right.sum() / num_test),
        "train": float(counts[0].max(1).sum() / num_train),
        "per_factor": (hits / counts[1].sum(0)).tolist(),
        "votes": counts[0][inverse].tolist(),
        "pruned_dimensions": np.flatnonzero(~kept[inverse]).tolist(),
        "chance": 1 / y.count,
        "num_train": num_train,
        "num_test": num_test,
    }


def _prepared(
    representations: np.ndarray,
    factors: np.ndarray,
    continuous: bool | Sequence[bool] | None,
    score: str,
    scale: bool = True,
) -> tuple[np.ndarray, Factors, np.ndarray]:
    """Dimensions in canonical order, standardised if `scale`; the factors; that order."""
    z, y = check(representations, factors, min_factors=2, continuous=continuous)
    need_crossed(y, score)
    need_every_value(y, np.arange(len(z)), _LEAST, score)
    order = canonical_order(z)
    return (standardised(z) if scale else z - z.mean(0))[:, order], y, order


def _groups(y: Factors) -> _Groups:
    order, start, size = [], [], []
    for label, values in zip(y.labels.T, y.sizes, strict=True):
        counts = np.bincount(label, minlength=values)
        begins = np.cumsum(counts) - counts
        order.append(np.argsort(label, kind="stable"))
        start.append(begins[label])
        size.append(counts[label])
    return _Groups(*(jnp.asarray(np.stack(part), jnp.int32) for part in (order, start, size)))


def _points(
    key: Array, z: np.ndarray, groups: _Groups, count: int, batch_size: int, kind: str
) -> tuple[Float[np.ndarray, "count d"], Int[np.ndarray, " count"]]:
    chunks = -(-count // _CHUNK)
    draw = _differences if kind == "difference" else _variances
    points, fixed = _draw(draw, chunks, batch_size, key, jnp.asarray(z, jnp.float32), groups)
    return np.asarray(points)[:count], np.asarray(fixed)[:count]


@partial(jax.jit, static_argnums=(0, 1, 2))
def _draw(
    draw: Any, chunks: int, batch_size: int, key: Array, z: Array, groups: _Groups
) -> tuple[Array, Array]:
    """`chunks` times `_CHUNK` points and the factor that was fixed in each."""

    def chunk(key: Array) -> tuple[Array, Array]:
        factor_key, rows_key = jax.random.split(key)
        factor = jax.random.randint(factor_key, (_CHUNK,), 0, len(groups.order))
        return draw(rows_key, z, groups, factor, batch_size), factor

    points, fixed = jax.lax.map(chunk, jax.random.split(key, chunks))
    return points.reshape(-1, z.shape[1]), fixed.reshape(-1)


def _differences(
    key: Array, z: Array, groups: _Groups, factor: Int[Array, " c"], batch_size: int
) -> Float[Array, "c d"]:
    """Mean absolute difference of pairs that agree in the factor; the value varies by pair."""
    first_key, second_key = jax.random.split(key)
    first = jax.random.randint(first_key, (len(factor), batch_size), 0, len(z))
    second = _same_value(second_key, groups, factor[:, None], first)
    return jnp.abs(z[first] - z[second]).mean(1)


def _variances(
    key: Array, z: Array, groups: _Groups, factor: Int[Array, " c"], batch_size: int
) -> Float[Array, "c d"]:
    """Variance in a batch whose rows all have one value of the factor."""
    value_key, rows_key = jax.random.split(key)
    value = jax.random.randint(value_key, (len(factor), 1), 0, len(z))
    value = jnp.broadcast_to(value, (len(factor), batch_size))
    return z[_same_value(rows_key, groups, factor[:, None], value)].var(1, ddof=1)


def _same_value(
    key: Array, groups: _Groups, factor: Int[Array, "c 1"], row: Int[Array, "c b"]
) -> Int[Array, "c b"]:
    """For each row another, or the same, that shares its value of the factor."""
    share = jax.random.uniform(key, row.shape)
    size = groups.size[factor, row]
    step = jnp.minimum((share * size).astype(jnp.int32), size - 1)
    return groups.order[factor, groups.start[factor, row] + step]
