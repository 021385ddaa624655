"""MIC and TIC against published values and against an exhaustive search over grids."""

from itertools import combinations

import numpy as np
import pytest

from cdis.metrics.arrays import UnsuitableData
from cdis.metrics.mic import characteristic_matrix, equipartition, mic, mic_of_pairs

X = np.linspace(0, 1, 1000)
WAVE = np.sin(10 * np.pi * X) + X


def test_published_values():
    """The two examples in the documentation of minepy 1.2 (alpha 0.6, c 15)."""
    clean = characteristic_matrix(X, WAVE)
    assert clean.mic == pytest.approx(1, abs=1e-9)
    assert clean.tic == pytest.approx(67.6612295532, abs=1e-8)
    noisy = WAVE + np.random.RandomState(0).uniform(-1, 1, len(X))
    found = characteristic_matrix(X, noisy)
    assert found.mic == pytest.approx(0.505716693417, abs=1e-11)
    assert found.tic == pytest.approx(28.7498326953, abs=1e-8)


def literal_equipartition(values, rows):
    """Algorithm 3 of the paper's supplement: point by point, in the order of values."""
    n, order = len(values), np.argsort(values, kind="stable")
    assigned, i, row, wanted = np.zeros(n, int), 0, 0, n / rows
    inside = 0
    while i < n:
        same = [j for j in order[i:] if values[j] == values[order[i]]]
        if inside and abs(inside + len(same) - wanted) >= abs(inside - wanted):
            row, inside = row + 1, 0
            wanted = (n - i) / (rows - row)
        assigned[same] = row
        inside += len(same)
        i += len(same)
    return assigned


def literal_best(x, row, columns):
    """Largest information over all ways to cut the distinct values of x into columns."""
    values = np.unique(x)
    best = 0.0
    for cuts in combinations(range(1, len(values)), columns - 1):
        column = np.searchsorted(values[list(cuts)], x, side="right")
        joint = np.zeros((columns, row.max() + 1))
        np.add.at(joint, (column, row), 1 / len(x))
        outer = np.outer(joint.sum(1), joint.sum(0))
        seen = joint > 0
        best = max(best, (joint[seen] * np.log(joint[seen] / outer[seen])).sum())
    return best


@pytest.mark.parametrize("seed", range(3))
def test_equals_an_exhaustive_search(seed):
    random = np.random.default_rng(seed)
    x = random.integers(9, size=14) if seed else random.random(11)
    y = random.integers(5, size=len(x)) + (0 if seed == 2 else random.random(len(x)))
    found = characteristic_matrix(x, y, alpha=0.95, clumps=100).matrix
    cells = max(len(x) ** 0.95, 4)
    for columns in range(2, int(cells // 2) + 1):
        for rows in range(2, int(cells // columns) + 1):
            upright = literal_best(x, literal_equipartition(y, rows), columns)
            across = literal_best(y, literal_equipartition(x, columns), rows)
            expected = max(upright, across) / np.log(min(rows, columns))
            assert found[columns - 2, rows - 2] == pytest.approx(expected, abs=1e-9)
    assert np.isnan(found[-1, -1]) or found.shape == (1, 1)


def test_equipartition_equals_the_published_loop():
    random = np.random.default_rng(0)
    for rows in (2, 3, 7):
        for values in (random.random(40), random.integers(6, size=41), random.integers(2, size=9)):
            _, rank, counts = np.unique(values, return_inverse=True, return_counts=True)
            ours = equipartition(counts, rows)[rank]
            np.testing.assert_array_equal(ours, literal_equipartition(values, rows))


def test_invariances_and_limits():
    random = np.random.default_rng(0)
    x, y = random.normal(size=200), random.normal(size=200)
    found = characteristic_matrix(x, y)
    other = characteristic_matrix(y, np.exp(x))
    assert (other.mic, other.tic) == pytest.approx((found.mic, found.tic))
    assert found.mic < 0.35 and 0 < found.tic_normalised < 0.2
    binary = (random.random(400) < 0.2).astype(float)
    share = binary.mean()
    bits = -(share * np.log2(share) + (1 - share) * np.log2(1 - share))
    assert characteristic_matrix(binary, binary).mic == pytest.approx(bits)


def test_scores_by_assignment():
    y = np.random.default_rng(0).integers((4, 5), size=(200, 2))
    z = np.concatenate([y[:, ::-1] ** 3, np.ones((200, 1))], 1)
    result = mic(z, y)
    assert result["mic"] == pytest.approx(1, abs=0.02)
    assert np.argmax(result["mic_matrix"], 0).tolist() == [1, 0]
    assert result["mic_matrix"][2] == [0, 0]


def test_pairs_are_the_diagonal():
    random = np.random.default_rng(0)
    y = random.normal(size=(150, 3))
    z = y[:, [0, 2, 1]] + 0.3 * random.normal(size=y.shape)
    z[:, 1] = 7
    found, whole = mic_of_pairs(z, y, num_samples=100), mic(z, y, num_samples=100)
    for name in ("mic", "tic"):
        diagonal = np.diag(whole[f"{name}_matrix"])
        assert found[f"{name}_per_factor"] == diagonal.tolist() and diagonal[1] == 0
        assert found[name] == pytest.approx(diagonal.mean()) and found[name] < whole[name]
    with pytest.raises(UnsuitableData, match="20"):
        mic_of_pairs(z[:19], y[:19])


@pytest.mark.parametrize(
    ("x", "y"), [([1, 2, 3], [1, 2, 3]), ([1, 2, 3, 4], [1, 1, 1, 1]), ([1, 2, 3, np.nan], [1] * 4)]
)
def test_refuses(x, y):
    with pytest.raises(UnsuitableData):
        characteristic_matrix(np.array(x, float), np.array(y, float))
