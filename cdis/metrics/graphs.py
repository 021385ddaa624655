"""Distances between an estimated causal graph and the true one.

``adjacency[i, j]`` is the edge into i from j.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool

from cdis.metrics.arrays import UnsuitableData
from cdis.ops.adjacency import reachable


def structural_hamming_distance(
    estimated: np.ndarray, truth: np.ndarray, *, reversal: int = 1
) -> dict[str, Any]:
    """SHD: extra, missing and reversed edges (Tsamardinos et al., 2006).

    Two conventions are in use: a reversed edge is one error (``reversal=1``, the default; as in
    NOTEARS, causal-learn and most papers), or one missing and one extra edge (``reversal=2``, the
    number of entries in which the matrices differ; as in cdt with ``double_for_anticausal``).
    An edge is reversed if the truth has it in one direction only and the estimate in the other
    direction only. The truth itself scores 0. Permuting the nodes of both graphs changes nothing.

    Args:
      estimated: ``[nodes, nodes]`` of 0 and 1 or booleans, without self-loops.
      truth: likewise.
      reversal: 1 or 2.

    Returns:
      ``distance``, ``extra``, ``missing``, ``reversed``, ``normalised`` (distance / (nodes (nodes -
      1))) and ``per_node`` (errors in the edges into each node; a reversed edge counts at both ends
      if `reversal` is 2, otherwise only at the end of the true edge).

    Raises:
      UnsuitableData: not two square matrices of 0 and 1 of one size; a self-loop.
    """
    if reversal not in (1, 2):
        raise UnsuitableData(f"`reversal` must be 1 or 2, not {reversal!r}.")
    guess, true = _graphs(estimated, truth)
    turned = true & ~true.T & guess.T & ~guess
    extra = guess & ~true & ~turned.T
    missing = true & ~guess & ~turned
    per_node = (extra | missing | turned).sum(1)
    if reversal == 2:
        per_node = per_node + turned.T.sum(1)
    nodes = len(true)
    distance = int(per_node.sum())
    return {
        "distance": distance,
        "extra": int(extra.sum()),
        "missing": int(missing.sum()),
        "reversed": int(turned.sum()),
        "normalised": distance / max(nodes * (nodes - 1), 1),
        "per_node": per_node.tolist(),
    }


def structural_intervention_distance(estimated: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """SID: interventions that the estimated graph gets wrong (Peters and Bühlmann, 2015).

    Counts the ordered pairs (i, j) for which the effect of do(i) on j, computed by adjusting for
    i's parents in the estimate, differs from the true effect for some distribution. If j is an
    estimated parent of i, the estimate implies no effect, which is wrong if j is a descendant of i.
    Otherwise the pair is wrong unless those parents are a valid adjustment set in the true graph
    (the criterion of Shpitser et al., 2010). Both graphs must be acyclic. The truth itself, and any
    supergraph of it, scores 0. The distance is not symmetric.

    Args:
      estimated: ``[nodes, nodes]`` of 0 and 1 or booleans, acyclic.
      truth: likewise.

    Returns:
      ``distance``, ``normalised`` (distance / (nodes (nodes - 1))) and ``wrong``
      ``[nodes][nodes]``: whether the effect of do(column) on the row is wrong.

    Raises:
      UnsuitableData: as for `structural_hamming_distance`; or a graph with a cycle.
    """
    guess, true = _graphs(estimated, truth)
    for name, graph in (("estimated", guess), ("true", true)):
        if (reachable(graph) & np.eye(len(graph), dtype=bool)).any():
            raise UnsuitableData(
                f"The {name} graph has a cycle; the structural intervention distance needs acyclic "
                "graphs."
            )
    nodes = len(true)
    descends = reachable(true) | np.eye(nodes, dtype=bool)  # [i, j]: i descends from, or is, j
    wrong = np.zeros((nodes, nodes), bool)
    for cause in range(nodes):
        parents = guess[cause]
        for effect in range(nodes):
            if effect == cause:
                continue
            if parents[effect]:
                wrong[effect, cause] = descends[effect, cause]
            else:
                wrong[effect, cause] = not _adjusts(true, descends, cause, effect, parents)
    distance = int(wrong.sum())
    return {
        "distance": distance,
        "normalised": distance / max(nodes * (nodes - 1), 1),
        "wrong": wrong.tolist(),
    }


def _adjusts(
    graph: Bool[np.ndarray, "n n"],
    descends: Bool[np.ndarray, "n n"],
    cause: int,
    effect: int,
    given: Bool[np.ndarray, " n"],
) -> bool:
    """Is `given` a valid adjustment set for the effect of `cause` on `effect`?

    It must not contain descendants of nodes on a directed path (the cause excepted), and it must
    block all other paths: d-separate the two nodes once the directed paths' first edges are gone.
    """
    on_path = descends[:, cause] & descends[effect]
    on_path[cause] = False
    if (descends[:, on_path].any(1) & given).any():
        return False
    without = graph.copy()
    without[on_path, cause] = False
    return not _connected(without, cause, effect, given)


def _connected(
    graph: Bool[np.ndarray, "n n"], start: int, end: int, given: Bool[np.ndarray, " n"]
) -> bool:
    """Are two nodes d-connected, that is, connected in the moral graph of their ancestors?"""
    relevant = given.copy()
    relevant[[start, end]] = True
    ancestral = relevant | reachable(graph)[relevant].any(0)
    edges = graph & ancestral & ancestral[:, None]
    moral = edges | edges.T | (edges.T.astype(int) @ edges.astype(int) > 0)
    open_ = ancestral & ~given
    return bool(reachable(moral & open_ & open_[:, None])[end, start])


def _graphs(estimated: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    result = []
    for name, array in (("estimated", estimated), ("true", truth)):
        graph = np.asarray(array)
        if graph.ndim != 2 or graph.shape[0] != graph.shape[1] or not np.isin(graph, (0, 1)).all():
            raise UnsuitableData(
                f"The {name} graph must be a square matrix of 0 and 1; its shape is "
                f"{list(graph.shape)}. Threshold probabilities or weights first."
            )
        if graph.diagonal().any():
            raise UnsuitableData(f"The {name} graph has a self-loop; set its diagonal to 0.")
        result.append(graph.astype(bool))
    if result[0].shape != result[1].shape:
        raise UnsuitableData(
            f"The estimated graph has {len(result[0])} nodes, but the true graph has "
            f"{len(result[1])}. Both must have the same nodes, in the same order."
        )
    return result[0], result[1]
