"""Grids of factors: data sets with every combination of their factors' values once."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32


class Factor(NamedTuple):
    """One factor: the physical value at each index, whether it is circular, whether ordered."""

    name: str
    values: tuple[float, ...]
    circular: bool = False
    ordered: bool = True


class Grid(NamedTuple):
    """All images of a variant: the product of its factors, the last one varying fastest."""

    factors: tuple[Factor, ...]
    image_shape: tuple[int, int, int]


def grid_columns(sizes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """The index of each factor over the product of all, the last one varying fastest."""
    return np.unravel_index(np.arange(np.prod(sizes)), sizes)


def grid_factors(grid: Grid, index: np.ndarray) -> Int32[np.ndarray, "n f"]:
    """Factor indices of the images numbered `index`."""
    sizes = [len(factor.values) for factor in grid.factors]
    return np.stack(np.unravel_index(index, sizes), axis=1).astype(np.int32)


def grid_values(grid: Grid, factors: Int32[np.ndarray, "n f"]) -> Float32[np.ndarray, "n f"]:
    """Physical values of rows of factor indices."""
    columns = [np.array(f.values, np.float32)[factors[:, i]] for i, f in enumerate(grid.factors)]
    return np.stack(columns, axis=1)
