"""Data sets as the rest of cdis sees them."""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cdis.errors import UserError, near_miss
from cdis.ops import actions
from cdis.ops.adjacency import reachable


@dataclass(frozen=True)
class Info:
    """Facts about a data set that hold for every image of it.

    Attributes:
      name: full name, such as "sprites2d/coloured".
      factor_names: the factors of variation, in the order of their columns.
      factor_sizes: number of values of each factor; 0 for a continuous factor, which has no steps.
      circular: whether a step up from a factor's last value leads to its first.
      unordered: names of the categorical factors, such as shape: steps follow the order of their
        values, but that order is meaningless.
      image_shape: height, width, channels of an image (uint8).
      licence: the terms of use of the images.
      citation: whom to cite, and for what.
      description: a sentence or two.
      count: number of images; None if each combination of the factors' values occurs exactly once.
      graph: the true causal graph of the factors if known, else None: graph[i][j] = 1 if factor j
        is a parent of factor i. It has no cycles; effects may be listed before their causes.
      value_mean, value_std: mean and standard deviation of each factor's physical value over the
        whole data set, for standardising; None if factors are used as indices.
      repeats: whether several images may have the same factors, as photographs do; transitions
        are then a seeded sample of all possible ones (`cdis.data.transitions`).
      partly_labelled: whether some labels are missing; see `Dataset`.
      value_names: for each factor the names of its values, such as ("red", "green"), by index; ()
        for a factor whose values are numbers. () if there are no such names at all.
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
    partly_labelled: bool = False
    value_names: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if not len(self.factor_names) == len(self.factor_sizes) == len(self.circular):
            raise ValueError(f"{self.name}: give each factor a name, a size and a circular flag.")
        for name, size, circular in zip(
            self.factor_names, self.factor_sizes, self.circular, strict=True
        ):
            # With two values on a circle, a step up and a step down would be the same pair.
            if size and size < (3 if circular else 2):
                raise ValueError(f"{self.name}: {size} values are too few for factor {name}.")
        if not set(self.unordered) <= set(self.factor_names):
            raise ValueError(f"{self.name}: {self.unordered} are not all factors.")
        if (0 in self.factor_sizes or self.repeats) and self.count is None:
            raise ValueError(
                f"{self.name}: with a continuous factor, or several images of the same factors, "
                "count must be given."
            )
        if self.value_names and (
            len(self.value_names) != self.num_factors
            or any(
                len(names) not in (0, size)
                for names, size in zip(self.value_names, self.factor_sizes, strict=True)
            )
        ):
            raise ValueError(f"{self.name}: value_names must name all values of a factor, or none.")
        if self.graph is not None:
            graph = np.array(self.graph)
            if graph.shape != (self.num_factors,) * 2 or reachable(graph).diagonal().any():
                raise ValueError(f"{self.name}: graph must be [F, F], without cycles.")

    def to_json(self) -> str:
        """All attributes as indented JSON, to be read by `from_json`."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> "Info":
        """The inverse of `to_json`. Raises ValueError or TypeError for any other text."""
        return cls(**{name: _tuples(value) for name, value in dict(json.loads(text)).items()})

    def names_of(self, factor: int) -> tuple[str, ...]:
        """The names of a factor's values, if they have names; see `value_names`."""
        return self.value_names[factor] if self.value_names else ()

    @property
    def num_factors(self) -> int:
        """F."""
        return len(self.factor_names)

    @property
    def num_images(self) -> int:
        """n, over all splits."""
        return math.prod(self.factor_sizes) if self.count is None else self.count

    @property
    def binary(self) -> tuple[bool, ...]:
        """Which factors have the values 0 and 1, and no others.

        Of factors with two values, those for which `std^2 = mean (1 - mean)`.
        """
        if self.value_mean is None or self.value_std is None:
            return (False,) * self.num_factors
        facts = zip(self.factor_sizes, self.value_mean, self.value_std, strict=True)
        return tuple(
            size == 2 and math.isclose(std**2, mean * (1 - mean), rel_tol=1e-3, abs_tol=1e-6)
            for size, mean, std in facts
        )

    @property
    def num_actions(self) -> int:
        """A = 2F: each factor can go one step up or down.

        Raises `UserError` if a factor is continuous, because it has no steps.
        """
        continuous = [n for n, s in zip(self.factor_names, self.factor_sizes, strict=True) if not s]
        if continuous:
            raise UserError(
                f"{self.name} has no actions and no transitions (pairs of images one step of a "
                f"factor apart), because these factors are continuous: {', '.join(continuous)}. "
                "Use a method that trains on single images, or a data set with discrete factors, "
                "such as sprites2d/coloured; in data of your own, 'kinds' makes a factor discrete "
                "and 'factors' leaves it out."
            )
        return 2 * self.num_factors

    @property
    def action_names(self) -> tuple[str, ...]:
        """Names by action index (`cdis.ops.actions`): "shape+1", ..., "shape-1", ..."""
        steps = ("+1", "-1") if self.num_actions else ()
        return tuple(f"{name}{step}" for step in steps for name in self.factor_names)

    def action_index(self, name: str) -> int:
        """Index of an action by name; raises `UserError` for an unknown name."""
        if name in self.action_names:
            return self.action_names.index(name)
        raise UserError(
            f"{self.name} has no action {name!r}{near_miss(name, self.action_names)}. "
            f"Its actions are {', '.join(self.action_names)}."
        )

    def opposite(self, action: np.ndarray) -> np.ndarray:
        """The action that undoes each action: the same factor, the other direction."""
        return actions.opposite(action, self.num_factors)


class Unseen(NamedTuple):
    """A split by combination (`cdis.data.combinations`): what only the test split has."""

    factors: tuple[str, str]  #: two discrete factors
    share: float  #: of their combinations that was asked for
    combinations: tuple[tuple[int, int], ...]  #: indices of their values, ascending
    occurring: int  #: how many combinations the data set has, seen and unseen
    splits_before: dict[str, np.ndarray]  #: the splits as they were, like `Dataset.splits`

    @property
    def title(self) -> str:
        """In words: "unseen combinations of shape and hue"."""
        return f"unseen combinations of {' and '.join(self.factors)}"


@dataclass(frozen=True)
class Dataset:
    """A whole data set, in memory or memory-mapped.

    Attributes:
      info: facts about it.
      images: uint8 [n, H, W, C]; may be a read-only memory map, or `cdis.data.records.Records`,
        which support only indexing by an integer, a slice or an array of integers.
      factors: int32 [n, F], the index of each factor's value (0 for a continuous factor; -1 for a
        missing label).
      splits: "train", "validation", "test" -> sorted int64 indices of images; of a split by
        combination also "seen".
      values: float32 [n, F], the physical value of each factor, in full precision (NaN for a
        missing label).
      feeding: where images are read from, in words, for the log.
      unseen: how it was split by combination; None if it was not.
    """

    info: Info
    images: np.ndarray
    factors: np.ndarray
    splits: dict[str, np.ndarray]
    values: np.ndarray
    feeding: str = "in memory"
    unseen: Unseen | None = None

    def fully_labelled(self, index: np.ndarray) -> np.ndarray:
        """Those images of `index` whose labels are all known."""
        return index[np.isfinite(self.values[index]).all(axis=1)]


def _tuples(value: Any) -> Any:
    """`value` with all lists turned into tuples."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
