"""How discrete codes are used, and which factor each of them represents."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int


def code_usage(
    codes: Int[np.ndarray, "images nodes"], num_codes: int, num_codebooks: int
) -> dict[str, Any]:
    """Perplexity ``exp(entropy)`` of mean code usage in each codebook.

    Nodes are ordered by codebook: node ``n`` of ``N`` uses codebook ``n // (N / num_codebooks)``.
    The perplexity is ``num_codes`` if all codes are equally frequent, and 1 if only one is used.

    Args:
      codes: ``[images, nodes]``, in 0..num_codes - 1.
      num_codes: size of each codebook.
      num_codebooks: must divide the number of nodes.

    Returns:
      ``perplexity`` (mean over codebooks), ``used`` (perplexity / num_codes), ``per_codebook``
      (perplexities), ``usage`` (``[num_codebooks][num_codes]`` frequencies), ``per_node``
      (perplexity of each node on its own) and ``distinct`` (the proportion of images whose
      combination of codes is unique).

    Raises:
      ValueError: codes out of range; nodes that do not divide evenly among the codebooks.
    """
    codes = np.asarray(codes)
    images, nodes = codes.shape
    if images == 0 or codes.min() < 0 or codes.max() >= num_codes:
        raise ValueError(f"codes must be a non-empty array with values in 0..{num_codes - 1}")
    if nodes % num_codebooks:
        raise ValueError(f"{nodes} nodes do not divide evenly among {num_codebooks} codebooks")

    flat = codes + num_codes * np.arange(nodes)
    per_node = np.bincount(flat.ravel(), minlength=nodes * num_codes).reshape(nodes, num_codes)
    per_node = per_node / images
    usage = per_node.reshape(num_codebooks, -1, num_codes).mean(1)
    perplexity = np.exp(_entropy(usage))
    _, repeats = np.unique(codes, axis=0, return_counts=True)
    return {
        "perplexity": float(perplexity.mean()),
        "used": float(perplexity.mean() / num_codes),
        "per_codebook": perplexity.tolist(),
        "usage": usage.tolist(),
        "per_node": np.exp(_entropy(per_node)).tolist(),
        "distinct": float((repeats == 1).sum() / images),
    }


def node_factor_information(
    codes: Int[np.ndarray, "images nodes"],
    factors: Int[np.ndarray, "images factors"],
    num_codes: int,
    factor_sizes: tuple[int, ...],
) -> Float[np.ndarray, "nodes factors"]:
    """Mutual information of every node's code with every factor, divided by the factor's entropy.

    ``I(code; factor) / H(factor)``, clipped to [0, 1], from histograms. Each entropy has the
    first-order bias correction ``+ (m - 1) / (2 images)`` for its ``m`` non-empty cells (Miller,
    1955); without it, independent codes would seem informative. A node that determines a factor
    scores 1 for it, and 0 for factors independent of it; a constant factor scores 0.
    """
    codes, factors = np.asarray(codes), np.asarray(factors)
    images, nodes = codes.shape
    information = np.zeros((nodes, factors.shape[1]))
    offset = num_codes * np.arange(nodes)
    for factor, size in enumerate(factor_sizes):
        cells = (codes + offset) * size + factors[:, factor, None]
        joint = np.bincount(cells.ravel(), minlength=nodes * num_codes * size)
        joint = joint.reshape(nodes, num_codes, size) / images
        each, by_code, by_value = joint.reshape(nodes, -1), joint.sum(2), joint.sum(1)
        entropy = _corrected_entropy(by_value, images)
        mutual = entropy + _corrected_entropy(by_code, images) - _corrected_entropy(each, images)
        share = np.clip(mutual / np.maximum(entropy, 1e-12), 0, 1)
        information[:, factor] = np.where(entropy > 1e-12, share, 0)
    return information


def specialisation(information: Float[np.ndarray, "nodes factors"]) -> dict[str, Any]:
    """How far each node represents a single factor.

    Per node ``1 - H(row / sum(row)) / log(factors)``: 1 if all its information is about one factor,
    0 if it is distributed evenly (the disentanglement term of DCI, Eastwood and Williams, 2018,
    with mutual information as importance).

    Args:
      information: see `node_factor_information`.

    Returns:
      ``score``: the mean weighted by each node's total information, so that dead nodes (rows of
      zeros) do not count; None if all are dead. ``per_node``, None for dead nodes. ``dead_nodes``,
      their number.
    """
    information = np.asarray(information, np.float64)
    total = information.sum(1)
    live = total > 1e-9
    shares = information[live] / total[live, None]
    values = 1 - _entropy(shares) / np.log(max(information.shape[1], 2))
    per_node: list[float | None] = [None] * len(total)
    for node, value in zip(np.flatnonzero(live), values, strict=True):
        per_node[node] = float(value)
    score = float((values * total[live]).sum() / total[live].sum()) if live.any() else None
    return {"score": score, "per_node": per_node, "dead_nodes": int((~live).sum())}


def _entropy(shares: np.ndarray) -> np.ndarray:
    """Entropy in nats over the last axis; 0 log 0 = 0."""
    return -(shares * np.log(np.where(shares > 0, shares, 1))).sum(-1)


def _corrected_entropy(shares: np.ndarray, samples: int) -> np.ndarray:
    return _entropy(shares) + ((shares > 0).sum(-1) - 1) / (2 * samples)
