"""What a data set is to the rest of cdis."""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from cdis.errors import UserError, near_miss
from cdis.ops import actions


@dataclass(frozen=True)
class Info:
    """Facts about a data set that hold for every image of it.

    Attributes:
      name: full name, such as "sprites2d/coloured".
      factor_names: the factors of variation, in the order of their columns.
      factor_sizes: number of values of each factor; 0 for a continuous one, which has no grid of
        values and so no steps.
      circular: whether a step up from a factor's last value leads to its first.
      unordered: names of the factors whose values are kinds, such as shapes: they have an order, by
        which steps go, but it means nothing.
      image_shape: height, width, channels of an image (uint8).
      licence: under which terms the images may be used.
      citation: whom to cite, and for what.
      description: a sentence or two.
      count: number of images; None where each combination of the factors' values is there once.
      graph: the true causal graph of the factors, if it is known: graph[i][j] = 1 if factor j is
        a parent of factor i. Factors are in topological order, so it is strictly lower triangular.
      value_mean, value_std: of each factor's physical value over the whole data set, for
        standardising; None where factors are meant to be used as indices.
      repeats: whether several images may have the same factors, as photographs do; transitions
        are then a seeded sample of all that there are (`cdis.data.transitions`).
    """

    name: str
    factor_names: tuple[str, ...]
    factor_sizes: tuple[int, ...]
    circular: tuple[bool, ...]
    image_shape: tuple[int, int, int]
    licence: str
    citation: str
    description: str
    count: int | None = None
    graph: tuple[tuple[int, ...], ...] | None = None
    value_mean: tuple[float, ...] | None = None
    value_std: tuple[float, ...] | None = None
    unordered: tuple[str, ...] = ()
    repeats: bool = False

    def __post_init__(self):
        if not len(self.factor_names) == len(self.factor_sizes) == len(self.circular):
            raise ValueError(f"{self.name}: one name, size and circular flag per factor.")
        for name, size, circular in zip(
            self.factor_names, self.factor_sizes, self.circular, strict=True
        ):
            # With two values on a circle a step up and a step down would be the same pair.
            if size and size < (3 if circular else 2):
                raise ValueError(f"{self.name}: {size} values are too few for factor {name}.")
        if not set(self.unordered) <= set(self.factor_names):
            raise ValueError(f"{self.name}: {self.unordered} are not all factors.")
        if (0 in self.factor_sizes or self.repeats) and self.count is None:
            raise ValueError(
                f"{self.name}: with a continuous factor, or images that repeat factors, count must "
                "be given."
            )
        if self.graph is not None:
            graph = np.array(self.graph)
            if graph.shape != (self.num_factors,) * 2 or np.triu(graph).any():
                raise ValueError(f"{self.name}: graph must be [F, F], strictly lower triangular.")

    def to_json(self) -> str:
        """All attributes as indented JSON; `from_json` gives them back."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> "Info":
        """What `to_json` wrote. Raises ValueError or TypeError if `text` is not that."""
        return cls(**{name: _tuples(value) for name, value in dict(json.loads(text)).items()})

    @property
    def num_factors(self) -> int:
        """F."""
        return len(self.factor_names)

    @property
    def num_images(self) -> int:
        """n, over all splits."""
        return math.prod(self.factor_sizes) if self.count is None else self.count

    @property
    def num_actions(self) -> int:
        """A = 2F: each factor one step up, or one step down.

        Raises `UserError` if a factor is continuous, and so has no steps.
        """
        continuous = [n for n, s in zip(self.factor_names, self.factor_sizes, strict=True) if not s]
        if continuous:
            raise UserError(
                f"{self.name} has no actions and no transitions, pairs of images one step of a "
                f"factor apart: {', '.join(continuous)} have no steps, being continuous. Use a "
                "method that trains on single images, or a data set whose factors are grids, such "
                "as sprites2d/coloured."
            )
        return 2 * self.num_factors

    @property
    def action_names(self) -> tuple[str, ...]:
        """Names by action index (factor + F * (direction < 0)): "shape+1", ..., "shape-1", ..."""
        steps = ("+1", "-1") if self.num_actions else ()
        return tuple(f"{name}{step}" for step in steps for name in self.factor_names)

    def action_index(self, name: str) -> int:
        """Index of an action by its name; `UserError` with the valid names if there is none."""
        if name in self.action_names:
            return self.action_names.index(name)
        raise UserError(
            f"{self.name} has no action {name!r}{near_miss(name, self.action_names)}. "
            f"Its actions are {', '.join(self.action_names)}."
        )

    def opposite(self, action: np.ndarray) -> np.ndarray:
        """The actions that undo those given: the same factors, the other direction."""
        return actions.opposite(action, self.num_factors)


@dataclass(frozen=True)
class Dataset:
    """A whole data set in memory, or mapped into it.

    Attributes:
      info: what it is.
      images: uint8 [n, H, W, C]; may be a read-only memory map, or `cdis.data.records.Records`,
        which are only indexed like an array, by an integer, a slice or an array of integers.
      factors: int32 [n, F], the index of each factor's value
        (0 for a continuous factor).
      splits: "train", "validation", "test" -> sorted int64 indices of images.
      values: float32 [n, F], the physical value of each factor, in full precision.
      feeding: where images come from, in words, for a log.
    """

    info: Info
    images: np.ndarray
    factors: np.ndarray
    splits: dict[str, np.ndarray]
    values: np.ndarray
    feeding: str = "in memory"


def _tuples(value: Any) -> Any:
    """Lists of JSON as the tuples that they were."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
