"""Many rows through a function that is compiled for a fixed number of them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Int


def in_chunks(
    function: Callable[[np.ndarray], Any], rows: Int[np.ndarray, " n"] | int, *, size: int
) -> Any:
    """`function(rows)`, `size` rows at a time, results joined along their first axis.

    The last chunk is filled up to `size` by repeating its rows, so that a compiled function sees
    one shape; what it returns for these is dropped.

    Args:
      function: takes int `[size]`, elements of `rows`, and returns an array `[size, ...]` or a dict
        of them.
      rows: what to walk over, at least one; a number n stands for 0, 1, ..., n - 1.
      size: of a chunk.
    """
    rows = np.arange(rows) if isinstance(rows, int) else rows
    if not len(rows):
        raise ValueError("there are no rows to compute")
    results = []
    for start in range(0, len(rows), size):
        chunk = rows[start : start + size]
        result = function(np.resize(chunk, size))
        if isinstance(result, dict):
            result = {name: np.asarray(part)[: len(chunk)] for name, part in result.items()}
        else:
            result = np.asarray(result)[: len(chunk)]
        results.append(result)
    if isinstance(results[0], dict):
        return {name: np.concatenate([part[name] for part in results]) for name in results[0]}
    return np.concatenate(results)
