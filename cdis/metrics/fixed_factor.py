"""BetaVAE and FactorVAE scores: which factor was fixed in a batch?

Both need a crossed design, in which any factor can be fixed while all others vary. Batches are
sampled from the given rows with replacement, conditional on the fixed value. Sampling and reducing
millions of rows takes nearly all the time, so that part is compiled.
"""

from collections.abc import Callable, Sequence
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

_CHUNK = 500  # batches at a time, to need only a few megabytes
_MIN_ROWS = 2  # of every value, so that something can vary while it is fixed


class _Groups(NamedTuple):
    """Rows sorted by the value of each factor."""

    order: Int[Array, "f n"]
    start: Int[Array, "f n"]  #: where in `order` the rows with the same value as this row begin
    size: Int[Array, "f n"]  #: how many rows have the same value as this row


#: (key, representations, groups, fixed factor of each batch, batch size) -> one point per batch
_Reduce = Callable[[Array, Array, _Groups, Array, int], Array]


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

    A point is the mean absolute difference of codes over a batch of pairs of rows that share the
    value of one factor. A logistic regression predicts that factor from the point, and its accuracy
    on new points is the score. Chance is 1 / F.

    Perfect codes score 1, and so does any invertible linear mix that leaves the difference patterns
    of factors distinguishable: the score is lenient. Invariant to permutation, and to positive
    rescaling, since dimensions are standardised first. (disentanglement_lib does not, so that its
    penalty favours dimensions with a large variance.)

    Args:
      representations: ``[n, d]``.
      factors: ``[n, F]``, discrete and crossed, F at least 2.
      num_train, num_test: points for training and testing.
      batch_size: pairs per point.
      continuous: which factors are continuous; none may be. See `cdis.metrics.arrays.check`.

    Returns:
      ``score``, ``train`` (accuracy on the training points), ``per_factor`` accuracy,
      ``confusion`` (counts; rows are true factors), ``chance``, ``converged``, ``num_train``,
      ``num_test``.

    Raises:
      UnsuitableData: see `cdis.metrics.arrays.check`; not crossed; a value occurs only once.
    """
    from sklearn.linear_model import LogisticRegression

    z, y, _ = _prepared(representations, factors, continuous, "The BetaVAE score")
    key = jax.random.key(seed)
    points, fixed = _points(key, z, _groups(y), num_train + num_test, batch_size, _differences)
    model = LogisticRegression(max_iter=500)
    with quiet_convergence():
        model.fit(points[:num_train], fixed[:num_train])
    answer = model.predict(points[num_train:])
    truth = fixed[num_train:]
    confusion = np.bincount(truth * y.count + answer, minlength=y.count**2)
    confusion = confusion.reshape(y.count, y.count)
    return {
        "score": float(np.equal(answer, truth).mean()),
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

    In a batch with one factor fixed, the dimension with the smallest variance, relative to its
    variance over all rows, casts a vote for that factor. Each dimension predicts the factor that
    received most of its training votes; the score is the accuracy on new votes.

    Dimensions with a standard deviation below `prune_below` are left out (0.05 in
    disentanglement_lib; `disent` leaves none out). Invariant to permutation, and to positive
    rescaling as long as no dimension crosses that threshold. Perfect codes score 1; chance is
    1 / F.

    Args:
      representations: ``[n, d]``.
      factors: ``[n, F]``, discrete and crossed, F at least 2.
      num_train, num_test: votes for training and testing.
      num_variance: rows for the overall variances.
      batch_size: rows in a batch.
      prune_below: an absolute standard deviation; 0 keeps all dimensions that vary.
      continuous: which factors are continuous; none may be. See `cdis.metrics.arrays.check`.

    Returns:
      ``score``, ``train`` (accuracy on the training votes), ``per_factor`` accuracy, training
      ``votes`` ``[d][F]``, ``pruned_dimensions``, ``chance``, ``num_train``, ``num_test``.

    Raises:
      UnsuitableData: see `cdis.metrics.arrays.check`; not crossed; a value occurs only once; no
        dimension is left.
    """
    z, y, order = _prepared(
        representations, factors, continuous, "The FactorVAE score", scale=False
    )
    std = z[sample(len(z), num_variance, seed)].std(0, ddof=1)
    kept = (std >= prune_below) & (std > 0)
    if not kept.any():
        raise UnsuitableData(
            f"No dimension has a standard deviation of {prune_below} or more, so the FactorVAE "
            "score leaves out all of them. Rescale the representations, or lower `prune_below`."
        )
    scaled = z[:, kept] / std[kept]
    key = jax.random.key(seed)
    points, fixed = _points(key, scaled, _groups(y), num_train + num_test, batch_size, _variances)
    votes = np.flatnonzero(kept)[points.argmin(1)]
    counts = [
        np.bincount(votes[part] * y.count + fixed[part], minlength=z.shape[1] * y.count)
        .reshape(-1, y.count)
        for part in (slice(num_train), slice(num_train, None))
    ]  # fmt: skip
    majority = counts[0].argmax(1)
    right = np.take_along_axis(counts[1], majority[:, None], 1)[:, 0]
    hits = np.bincount(majority, weights=right, minlength=y.count)
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
    need_every_value(y, np.arange(len(z)), _MIN_ROWS, score)
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
    key: Array, z: np.ndarray, groups: _Groups, count: int, batch_size: int, reduce: _Reduce
) -> tuple[Float[np.ndarray, "count d"], Int[np.ndarray, " count"]]:
    chunks = -(-count // _CHUNK)
    points, fixed = _sample(reduce, chunks, batch_size, key, jnp.asarray(z, jnp.float32), groups)
    return np.asarray(points)[:count], np.asarray(fixed)[:count]


@partial(jax.jit, static_argnums=(0, 1, 2))
def _sample(
    reduce: _Reduce,
    chunks: int,
    batch_size: int,
    key: Array,
    z: Array,
    groups: _Groups,
) -> tuple[Array, Array]:
    """`chunks` times `_CHUNK` points, and the factor that was fixed in each."""

    def chunk(key: Array) -> tuple[Array, Array]:
        factor_key, rows_key = jax.random.split(key)
        factor = jax.random.randint(factor_key, (_CHUNK,), 0, len(groups.order))
        return reduce(rows_key, z, groups, factor, batch_size), factor

    points, fixed = jax.lax.map(chunk, jax.random.split(key, chunks))
    return points.reshape(-1, z.shape[1]), fixed.reshape(-1)


def _differences(
    key: Array, z: Array, groups: _Groups, factor: Int[Array, " c"], batch_size: int
) -> Float[Array, "c d"]:
    """Mean absolute difference of pairs that share the factor's value, which varies by pair."""
    first_key, second_key = jax.random.split(key)
    first = jax.random.randint(first_key, (len(factor), batch_size), 0, len(z))
    second = _same_value(second_key, groups, factor[:, None], first)
    return jnp.abs(z[first] - z[second]).mean(1)


def _variances(
    key: Array, z: Array, groups: _Groups, factor: Int[Array, " c"], batch_size: int
) -> Float[Array, "c d"]:
    """Variance in a batch whose rows all share one value of the factor."""
    value_key, rows_key = jax.random.split(key)
    value = jax.random.randint(value_key, (len(factor), 1), 0, len(z))
    value = jnp.broadcast_to(value, (len(factor), batch_size))
    return z[_same_value(rows_key, groups, factor[:, None], value)].var(1, ddof=1)


def _same_value(
    key: Array, groups: _Groups, factor: Int[Array, "c 1"], row: Int[Array, "c b"]
) -> Int[Array, "c b"]:
    """For each row, a random row with the same value of the factor, possibly the row itself."""
    share = jax.random.uniform(key, row.shape)
    size = groups.size[factor, row]
    step = jnp.minimum((share * size).astype(jnp.int32), size - 1)
    return groups.order[factor, groups.start[factor, row] + step]
