"""What a data set is to the rest of cdis."""

import difflib
from dataclasses import dataclass

import numpy as np

from cdis.errors import UserError


@dataclass(frozen=True)
class Info:
    """Facts about a data set that hold for every image of it.

    Attributes:
      name: full name, such as "sprites2d/coloured".
      factor_names: the factors of variation, in the order of their columns.
      factor_sizes: number of values of each factor.
      circular: whether a step up from a factor's last value leads to its first.
      image_shape: height, width, channels of an image (uint8).
      licence: under which terms the images may be used.
      citation: whom to cite, and for what.
      description: a sentence or two.
    """

    name: str
    factor_names: tuple[str, ...]
    factor_sizes: tuple[int, ...]
    circular: tuple[bool, ...]
    image_shape: tuple[int, int, int]
    licence: str
    citation: str
    description: str

    def __post_init__(self):
        if not len(self.factor_names) == len(self.factor_sizes) == len(self.circular):
            raise ValueError(f"{self.name}: one name, size and circular flag per factor.")
        for name, size, circular in zip(
            self.factor_names, self.factor_sizes, self.circular, strict=True
        ):
            # With two values on a circle a step up and a step down would be the same pair.
            if size < (3 if circular else 2):
                raise ValueError(f"{self.name}: {size} values are too few for factor {name}.")

    @property
    def num_factors(self) -> int:
        """F."""
        return len(self.factor_names)

    @property
    def num_actions(self) -> int:
        """A = 2F: each factor one step up, or one step down."""
        return 2 * self.num_factors

    @property
    def action_names(self) -> tuple[str, ...]:
        """Names by action index (factor + F * (direction < 0)): "shape+1", ..., "shape-1", ..."""
        return tuple(f"{name}{step}" for step in ("+1", "-1") for name in self.factor_names)

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
        return (action + self.num_factors) % self.num_actions


@dataclass(frozen=True)
class Dataset:
    """A whole data set in memory, or mapped into it.

    Attributes:
      info: what it is.
      images: uint8 [n, H, W, C]; may be a read-only memory map.
      factors: int32 [n, F], the index of each factor's value.
      splits: "train", "validation", "test" -> sorted int64 indices of images.
    """

    info: Info
    images: np.ndarray
    factors: np.ndarray
    splits: dict[str, np.ndarray]


def near_miss(name: str, names: tuple[str, ...]) -> str:
    """A clause for an error message: the name that was probably meant, if there is one."""
    near = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
