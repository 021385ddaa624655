"""Histograms and gaps against literal loops, and published scores of perfect codes."""

import math
from collections import Counter

import numpy as np
import pytest

from cdis.metrics.arrays import check
from cdis.metrics.information import binned, equal_width_bins, mutual_information
from cdis.metrics.information_gap import dcimig, mig, rmig
from cdis.metrics.modularity import modularity

RANDOM = np.random.default_rng(0)
Y = RANDOM.integers((3, 4, 5), size=(500, 3))
Z = RANDOM.normal(size=(500, 4)) + Y[:, [0, 1, 2, 0]]


def literal_information(a, b):
    """The definition, one cell at a time."""
    n = len(a)
    joint, left, right = Counter(zip(a, b, strict=True)), Counter(a), Counter(b)
    return sum(k / n * math.log(k * n / left[x] / right[y]) for (x, y), k in joint.items())


def literal_matrix(z, y, bins=20):
    codes = [np.digitize(column, np.histogram(column, bins)[1][:-1]).tolist() for column in z.T]
    return np.array([[literal_information(c, f) for f in y.T.tolist()] for c in codes])


def test_bins_are_those_of_histogram():
    columns = np.stack([RANDOM.normal(size=999), RANDOM.integers(21, size=999) / 20], 1)
    columns = np.concatenate([columns, np.full((999, 1), 2.0)], 1)
    for bins in (2, 7, 20):
        codes = equal_width_bins(columns, bins)
        for column, code in zip(columns.T[:2], codes.T, strict=False):
            counts, edges = np.histogram(column, bins)
            np.testing.assert_array_equal(np.bincount(code, minlength=bins), counts)
            np.testing.assert_array_equal(code, np.digitize(column, edges[:-1]) - 1)
        assert (codes[:, 2] == 0).all()


@pytest.mark.parametrize("bins", [2, 6, 20])  # all, two and one factor per pass over the rows
def test_information_equals_its_definition(bins):
    factors = check(Z, Y)[1]
    found = mutual_information(equal_width_bins(Z, bins), factors.labels, factors.sizes)
    np.testing.assert_allclose(found, literal_matrix(Z, Y, bins), atol=1e-12)


def test_gaps_equal_loops():
    matrix = literal_matrix(Z, Y)
    entropy = [literal_information(column, column) for column in Y.T.tolist()]
    gaps = []
    for factor in range(3):
        first, second = sorted(matrix[:, factor])[:-3:-1]
        gaps.append((first - second) / entropy[factor])
    result = mig(Z, Y)
    np.testing.assert_allclose(result["per_factor"], gaps)
    assert result["score"] == pytest.approx(np.mean(gaps))
    kept = [0.0] * 3
    for row in matrix:
        first, second = sorted(row)[:-3:-1]
        kept[row.argmax()] = max(kept[row.argmax()], first - second)
    assert dcimig(Z, Y)["score"] == pytest.approx(sum(kept) / sum(entropy))
    single = [
        1 - (sum(row**2) - max(row) ** 2) / (max(row) ** 2 * (len(row) - 1)) for row in matrix
    ]
    np.testing.assert_allclose(modularity(Z, Y)["per_dimension"], single)


def test_a_sample_scores_as_if_it_were_all_rows():
    order = np.random.default_rng(3).permutation(500)
    y = Y.copy()
    y[order[-1], 0] = 7  # a value that does not occur in the sample
    rows = order[:200]
    sampled, alone = mig(Z, y, num_samples=200, seed=3), mig(Z[rows], y[rows])
    np.testing.assert_allclose(sampled["per_factor"], alone["per_factor"])
    assert sampled["num_samples"] == 200


def test_rmig_is_robust_to_outliers():
    outlier = Z.copy()
    outlier[0] = 1e4
    assert mig(outlier, Y)["score"] < 0.1 * mig(Z, Y)["score"]
    # One extreme row in 500 still affects the standardisation; a moderate outlier hardly does.
    outlier[0] = 15
    assert rmig(outlier, Y)["score"] == pytest.approx(rmig(Z, Y)["score"], abs=0.05)
    assert rmig(Z, Y)["gap"][0] == pytest.approx(
        rmig(Z, Y)["per_factor"][0] * rmig(Z, Y)["factor_entropy"][0]
    )


@pytest.mark.parametrize(
    ("sizes", "published"),
    [((3, 6, 40, 32, 32), 0.90), ((10, 10, 10, 8, 4, 15), 0.995)],
    ids=["dSprites", "Shapes3D"],
)
def test_perfect_codes_at_the_sizes_of_data_sets(sizes, published):
    y = np.random.default_rng(0).integers(sizes, size=(10_000, len(sizes)))
    assert mig(y.astype(float), y)["score"] == pytest.approx(published, abs=0.01)


def test_continuous_factors_are_binned():
    values = RANDOM.random((2000, 2))
    factors = check(values, values)[1]
    assert factors.continuous.all()
    np.testing.assert_array_equal(binned(factors, 20).sizes, [20, 20])
    assert mig(values, values)["score"] > 0.9
    # Repeated integers and few values are discrete, unless `continuous` says otherwise.
    y = np.stack([np.arange(100) % 40, np.arange(100) % 5 / 4, np.arange(100)], 1)
    assert check(y, y)[1].continuous.tolist() == [False, False, True]
    assert check(y, y, continuous=[True, False, False])[1].continuous.tolist() == [
        True,
        False,
        False,
    ]
