"""Code usage and node-factor information on constructed truths."""

import math
from collections import Counter

import numpy as np
import pytest

from cdis.metrics.codes import code_usage, node_factor_information, specialisation

SIZES = (3, 4, 2)
FACTORS = np.stack(np.unravel_index(np.arange(24), SIZES), 1)
#: A sample large enough for the correction to be small.
MANY = np.tile(FACTORS, (500, 1))


def _literal_entropy(cells, count):
    found = Counter(cells).values()
    return -sum(n / count * math.log(n / count) for n in found) + (len(found) - 1) / (2 * count)


def _literal_information(codes, factors, sizes):
    """The definition, one cell at a time."""
    result = np.zeros((codes.shape[1], factors.shape[1]))
    count = len(codes)
    for node in range(codes.shape[1]):
        for factor in range(len(sizes)):
            values, names = factors[:, factor].tolist(), codes[:, node].tolist()
            entropy, by_code, both = (
                _literal_entropy(cells, count)
                for cells in (values, names, list(zip(values, names, strict=True)))
            )
            result[node, factor] = min(max(entropy + by_code - both, 0) / entropy, 1)
    return result


def test_usage_uniform_constant_and_codebooks():
    # Nodes 0 and 1 share a codebook and together use all of it; nodes 2 and 3 are constant.
    codes = np.array([[0, 2, 3, 3], [1, 3, 3, 3]] * 4)
    usage = code_usage(codes, 4, 2)
    np.testing.assert_allclose(usage["per_codebook"], [4, 1], rtol=1e-12)
    np.testing.assert_allclose(usage["per_node"], [2, 2, 1, 1], rtol=1e-12)
    np.testing.assert_allclose(usage["usage"], [[0.25] * 4, [0, 0, 0, 1]])
    assert usage["perplexity"] == pytest.approx(2.5)
    assert usage["used"] == pytest.approx(2.5 / 4)
    assert usage["distinct"] == 0
    assert code_usage(FACTORS, 4, 3)["distinct"] == 1


def test_usage_is_invariant_to_renumbering_codes():
    renamed = np.random.default_rng(0).permutation(4)[FACTORS]
    assert code_usage(FACTORS, 4, 3)["perplexity"] == pytest.approx(
        code_usage(renamed, 4, 3)["perplexity"]
    )


@pytest.mark.parametrize("codes", [np.full((2, 4), 4), np.full((2, 4), -1), np.zeros((2, 3), int)])
def test_usage_refuses(codes):
    with pytest.raises(ValueError):
        code_usage(codes, 4, 2)


def test_information_of_ideal_permuted_and_dead_nodes():
    codes = MANY[:, [2, 0, 1]]  # each node represents one factor, renumbered
    codes = np.concatenate([3 - codes, np.zeros((len(codes), 1), int)], 1)
    information = node_factor_information(codes, MANY, 4, SIZES)
    expected = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0]])
    np.testing.assert_allclose(information, expected, atol=1e-3)
    special = specialisation(information)
    assert special["score"] == pytest.approx(1, abs=5e-3)
    assert special["dead_nodes"] == 1
    assert special["per_node"][3] is None


def test_information_equals_its_definition():
    random = np.random.default_rng(1)
    codes = random.integers(5, size=(24, 2))
    codes[:, 1] = (codes[:, 1] + FACTORS[:, 1]) % 5 // 2
    np.testing.assert_allclose(
        node_factor_information(codes, FACTORS, 5, SIZES),
        _literal_information(codes, FACTORS, SIZES),
        atol=1e-12,
    )


def test_information_is_near_zero_for_noise_and_zero_for_a_constant_factor():
    random = np.random.default_rng(2)
    codes, factors = random.integers(8, size=(600, 20)), random.integers(8, size=(600, 1))
    biased = 49 / 1200 / np.log(8)  # what the plug-in estimate would give
    assert node_factor_information(codes, factors, 8, (8,)).mean() < biased / 4
    assert (node_factor_information(codes, np.zeros((600, 1), int), 8, (8,)) == 0).all()


def test_specialisation_of_mixed_nodes():
    mixed = specialisation(np.full((2, 3), 0.5))
    assert mixed["score"] == pytest.approx(0)
    # Informative nodes weigh more than uninformative ones.
    uneven = specialisation(np.array([[0.9, 0.0, 0.0], [0.01, 0.01, 0.01]]))
    assert uneven["score"] == pytest.approx(0.9 / 0.93)
    assert specialisation(np.zeros((2, 3)))["score"] is None
