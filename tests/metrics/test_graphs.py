"""Graph distances by hand, and the intervention distance against an enumeration of all paths."""

from itertools import pairwise, product

import numpy as np
import pytest

from cdis.metrics.arrays import UnsuitableData
from cdis.metrics.graphs import structural_hamming_distance, structural_intervention_distance


def graph(nodes, *edges):
    """From (cause, effect) pairs; ``[i, j]`` is the edge into i from j."""
    matrix = np.zeros((nodes, nodes), int)
    for cause, effect in edges:
        matrix[effect, cause] = 1
    return matrix


def test_hamming_by_hand_in_both_conventions():
    truth = graph(4, (0, 1), (1, 2), (2, 3))
    guess = graph(4, (1, 0), (1, 2), (0, 3))  # one reversed, one missing, one extra
    once = structural_hamming_distance(guess, truth)
    assert (once["distance"], once["extra"], once["missing"], once["reversed"]) == (3, 1, 1, 1)
    twice = structural_hamming_distance(guess, truth, reversal=2)
    assert twice["distance"] == 4 == (guess != truth).sum()
    assert sum(once["per_node"]) == 3 and sum(twice["per_node"]) == 4
    assert once["normalised"] == 3 / 12
    assert structural_hamming_distance(truth, truth)["distance"] == 0
    # Both directions in the estimate is one extra edge, not a reversal.
    both = structural_hamming_distance(graph(2, (0, 1), (1, 0)), graph(2, (0, 1)))
    assert (both["distance"], both["extra"], both["reversed"]) == (1, 1, 0)


@pytest.mark.parametrize("reversal", [1, 2])
def test_hamming_equals_a_loop_and_ignores_the_order_of_nodes(reversal):
    random = np.random.default_rng(0)
    for _ in range(20):
        guess, truth = (random.random((2, 5, 5)) < 0.3) & ~np.eye(5, dtype=bool)
        expected = 0
        for i in range(5):
            for j in range(i):
                mine, true = (guess[i, j], guess[j, i]), (truth[i, j], truth[j, i])
                turned = sum(true) == 1 and mine == true[::-1]
                wrong = int(mine[0] != true[0]) + int(mine[1] != true[1])
                expected += reversal if turned else wrong
        order = random.permutation(5)
        for g, t in ((guess, truth), (guess[np.ix_(order, order)], truth[np.ix_(order, order)])):
            assert structural_hamming_distance(g, t, reversal=reversal)["distance"] == expected


def paths(matrix, start, end):
    """All paths between two nodes, along edges in either direction, without repetition."""
    found, stack = [], [[start]]
    while stack:
        path = stack.pop()
        if path[-1] == end:
            found.append(path)
            continue
        for node in np.flatnonzero(matrix[path[-1]] | matrix[:, path[-1]]):
            if node not in path:
                stack.append([*path, node])
    return found


def descendants(matrix, node):
    found, stack = {node}, [node]
    while stack:
        for child in np.flatnonzero(matrix[:, stack.pop()]):
            if child not in found:
                found.add(child)
                stack.append(child)
    return found


def blocked(matrix, path, given):
    for before, node, after in zip(path, path[1:], path[2:], strict=False):
        collides = matrix[node, before] and matrix[node, after]
        if collides and not descendants(matrix, node) & given:
            return True
        if not collides and node in given:
            return True
    return False


def literal_intervention_distance(guess, truth):
    """Peters and Bühlmann (2015), by the definitions of paths and adjustment sets."""
    wrong = 0
    for cause, effect in product(range(len(truth)), repeat=2):
        if cause == effect:
            continue
        parents = set(np.flatnonzero(guess[cause]))
        if effect in parents:
            wrong += effect in descendants(truth, cause)
            continue
        causal, other = [], []
        for path in paths(truth, cause, effect):
            directed = all(truth[b, a] for a, b in pairwise(path))
            (causal if directed else other).append(path)
        forbidden = {
            below for path in causal for node in path[1:] for below in descendants(truth, node)
        }
        valid = not forbidden & parents and all(blocked(truth, path, parents) for path in other)
        wrong += not valid
    return wrong


def random_dag(random, nodes):
    order = random.permutation(nodes)
    return (np.tril(random.random((nodes, nodes)) < 0.4, -1))[np.ix_(order, order)].astype(int)


def test_intervention_distance_equals_an_enumeration_of_all_paths():
    random = np.random.default_rng(0)
    for nodes in (2, 3, 4, 5):
        for _ in range(15):
            guess, truth = random_dag(random, nodes), random_dag(random, nodes)
            found = structural_intervention_distance(guess, truth)
            assert found["distance"] == literal_intervention_distance(guess, truth)
            assert found["distance"] == np.sum(found["wrong"])
            assert structural_intervention_distance(truth, truth)["distance"] == 0


def test_intervention_distance_by_hand():
    """The paper's example 2: a superfluous edge costs nothing, a reversed one eight."""
    # X1, X2 -> X3, X4, X5 with X1 -> X2.
    edges = [(0, 1), *((cause, effect) for cause in (0, 1) for effect in (2, 3, 4))]
    truth = graph(5, *edges)
    superfluous = graph(5, *edges, (2, 3))
    reversed_ = graph(5, (1, 0), *edges[1:])
    assert structural_hamming_distance(superfluous, truth)["distance"] == 1
    assert structural_intervention_distance(superfluous, truth)["distance"] == 0
    assert structural_hamming_distance(reversed_, truth)["distance"] == 1
    assert structural_intervention_distance(reversed_, truth)["distance"] == 8


@pytest.mark.parametrize(
    ("guess", "truth", "said"),
    [
        (np.eye(3), np.zeros((3, 3)), "self-loop"),
        (np.zeros((2, 3)), np.zeros((2, 2)), "square"),
        (np.full((2, 2), 0.5), np.zeros((2, 2)), "0 and 1"),
        (np.zeros((2, 2)), np.zeros((3, 3)), "nodes"),
    ],
)
@pytest.mark.parametrize(
    "distance", [structural_hamming_distance, structural_intervention_distance]
)
def test_refuses(distance, guess, truth, said):
    with pytest.raises(UnsuitableData, match=said):
        distance(guess, truth)


def test_refuses_cycles_and_other_conventions():
    cycle = graph(3, (0, 1), (1, 2), (2, 0))
    with pytest.raises(UnsuitableData, match="cycle"):
        structural_intervention_distance(cycle, graph(3))
    with pytest.raises(UnsuitableData, match="1 or 2"):
        structural_hamming_distance(cycle, cycle, reversal=3)
