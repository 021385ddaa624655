"""Graphs: order, reachability, and validation."""

import itertools

import numpy as np
import pytest

from cdis.errors import UserError
from cdis.ops.adjacency import order_only, reachable, topological_order, validate_graph

NAMES = ("sun", "rod", "shade")


def test_a_valid_graph_becomes_an_adjacency_matrix():
    adjacency = validate_graph(((0, 0, 0), (0, 0, 0), (1, 1, 0)), NAMES)
    np.testing.assert_array_equal(adjacency, [[0, 0, 0], [0, 0, 0], [1, 1, 0]])
    assert adjacency.dtype == np.float32
    np.testing.assert_array_equal(validate_graph([[0]], ("one",)), [[0]])
    effect_first = ((0, 1, 0), (0, 0, 0), (1, 0, 0))
    np.testing.assert_array_equal(validate_graph(effect_first, NAMES), effect_first)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (((0, 0), (1, 0)), "2 rows of length 2, but there are 3 factors: sun, rod, shade"),
        (((0, 0, 0), (0, 0), (0, 0, 0)), "3 rows of length 2, 3"),
        (((0, 0, 0), (0.5, 0, 0), (0, 0, 0)), "numbers other than 0 and 1"),
        # sun leads into the cycle but is not part of it.
        (((0, 0, 0), (1, 0, 1), (0, 1, 0)), "cycle: rod, shade cause one another"),
        (((0, 0, 0), (0, 1, 0), (0, 0, 0)), "cycle: rod cause one another, or themselves"),
    ],
)
def test_graphs_that_make_no_sense_are_refused(graph, message):
    with pytest.raises(UserError, match=message):
        validate_graph(graph, NAMES)


def test_order_only_has_every_earlier_node_as_a_parent():
    for i, j in np.ndindex(4, 4):
        assert order_only(4)[i, j] == (j < i)


def test_causes_come_first_and_else_the_order_is_kept():
    assert (
        topological_order(order_only(5)) == topological_order(np.zeros((5, 5))) == tuple(range(5))
    )
    rng = np.random.default_rng(0)
    for _ in range(20):
        places = rng.permutation(6)
        graph = np.tril(rng.random((6, 6)) < 0.4, -1)[np.ix_(places, places)]
        order = topological_order(graph)
        assert sorted(order) == list(range(6))
        assert not np.triu(graph[np.ix_(order, order)]).any()
        # Every node that stands before a smaller one leads to it, or to one that had to wait.
        assert order == min(
            p for p in itertools.permutations(range(6)) if not np.triu(graph[np.ix_(p, p)]).any()
        )
    with pytest.raises(ValueError, match="cycle"):
        topological_order(np.array([[0, 1], [1, 0]]))


def test_reachable_counts_paths():
    rng = np.random.default_rng(0)
    for _ in range(20):
        edges = (rng.random((6, 6)) < 0.25).astype(int)
        # Powers of the adjacency matrix count the paths of each length.
        paths = sum(np.linalg.matrix_power(edges, length) for length in range(1, 7))
        np.testing.assert_array_equal(reachable(edges), paths > 0)
