"""Adjacency matrices of causal graphs; `adjacency[i, j]` is the edge into i from j. NumPy only."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from cdis.errors import UserError


def order_only(d: int) -> Float[np.ndarray, "d d"]:
    """The graph in which every earlier node is a parent: strictly lower triangular ones."""
    return np.tril(np.ones((d, d), np.float32), -1)


def topological_order(adjacency: np.ndarray) -> tuple[int, ...]:
    """The nodes, causes before effects: 0, 1, 2, ... if they are listed so already.

    Of several nodes that may come next, the first listed does. Raises ValueError for a graph with
    a cycle.
    """
    edges = np.asarray(adjacency) != 0
    left, order = list(range(len(edges))), []
    while left:
        following = next((i for i in left if not edges[i, left].any()), None)
        if following is None:
            raise ValueError(f"the graph has a cycle through some of the nodes {left}")
        left.remove(following)
        order.append(following)
    return tuple(order)


def reachable(adjacency: np.ndarray) -> Bool[np.ndarray, "n n"]:
    """[i, j]: does a directed path of one edge or more lead into i from j?

    The graph has a cycle if and only if the diagonal holds a True (Warshall, 1962).
    """
    reach = np.asarray(adjacency) != 0
    for middle in range(len(reach)):
        reach = reach | np.outer(reach[:, middle], reach[middle])
    return reach


def validate_graph(
    graph: Sequence[Sequence[int]] | np.ndarray, names: Sequence[str]
) -> Float[np.ndarray, "d d"]:
    """`graph[i][j]` (is factor j a parent of factor i?) as an adjacency matrix of ones and zeros.

    Raises:
      UserError: the graph is not of the factors called `names`, holds anything but 0 and 1, or has
        a cycle.
    """
    rows, d = [list(row) for row in graph], len(names)
    if len(rows) != d or any(len(row) != d for row in rows):
        lengths = sorted({len(row) for row in rows})
        raise UserError(
            f"The graph has {len(rows)} rows of length {', '.join(map(str, lengths))}, but there "
            f"are {d} factors: {', '.join(names)}. Give {d} rows of {d} numbers; row i marks the "
            "parents of factor i."
        )
    adjacency = np.array(rows, np.float32)
    if not np.isin(adjacency, (0, 1)).all():
        raise UserError(
            "The graph holds numbers other than 0 and 1. Row i has a 1 at each parent of factor i "
            "and 0 elsewhere."
        )
    on_cycle = reachable(adjacency).diagonal()
    if on_cycle.any():
        stuck = ", ".join(name for name, here in zip(names, on_cycle, strict=True) if here)
        raise UserError(
            f"The graph has a cycle: {stuck} cause one another, or themselves. A causal flow needs "
            "a graph without cycles; remove an edge."
        )
    return adjacency
