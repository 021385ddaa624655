"""Graphs: order, reachability, and validation."""

import numpy as np
import pytest

from cdis.errors import UserError
from cdis.ops.adjacency import order_only, reachable, validate_graph

NAMES = ("sun", "rod", "shade")


def test_a_valid_graph_becomes_an_adjacency_matrix():
    adjacency = validate_graph(((0, 0, 0), (0, 0, 0), (1, 1, 0)), NAMES)
    np.testing.assert_array_equal(adjacency, [[0, 0, 0], [0, 0, 0], [1, 1, 0]])
    assert adjacency.dtype == np.float32
    np.testing.assert_array_equal(validate_graph([[0]], ("one",)), [[0]])


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (((0, 0), (1, 0)), "2 rows of length 2, but there are 3 factors: sun, rod, shade"),
        (((0, 0, 0), (0, 0), (0, 0, 0)), "3 rows of length 2, 3"),
        (((0, 0, 0), (0.5, 0, 0), (0, 0, 0)), "numbers other than 0 and 1"),
        # sun leads into the cycle but is not part of it.
        (((0, 0, 0), (1, 0, 1), (0, 1, 0)), "cycle: rod, shade cause one another"),
        (((0, 0, 0), (0, 1, 0), (0, 0, 0)), "cycle: rod cause one another, or themselves"),
        (((0, 0, 1), (0, 0, 0), (0, 0, 0)), "edge from shade into sun, which comes before it"),
    ],
)
def test_graphs_that_make_no_sense_are_refused(graph, message):
    with pytest.raises(UserError, match=message):
        validate_graph(graph, NAMES)


def test_order_only_has_every_earlier_node_as_a_parent():
    for i, j in np.ndindex(4, 4):
        assert order_only(4)[i, j] == (j < i)


def test_reachable_counts_paths():
    rng = np.random.default_rng(0)
    for _ in range(20):
        edges = (rng.random((6, 6)) < 0.25).astype(int)
        # Powers of the adjacency matrix count the paths of each length.
        paths = sum(np.linalg.matrix_power(edges, length) for length in range(1, 7))
        np.testing.assert_array_equal(reachable(edges), paths > 0)
