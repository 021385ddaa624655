"""What batches consist of: single images, pairs of images, or rows that a method defines."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from cdis.data import transitions
from cdis.data.info import Dataset


class Examples(NamedTuple):
    """P rows to sample batches from. Each refers to images, by role, and has labels.

    `images` maps a role, such as "x" or "y", to indices of images: int64 ``[P]``, or ``[P, T]`` for
    T images per row. `labels` maps names, such as "action", to arrays ``[P, ...]``. A batch is
    ``{role: {column: [B, ...]}, label: [B, ...]}``, or ``[B, T, ...]`` with T images per row.
    """

    images: dict[str, Int64[np.ndarray, "p ..."]]
    labels: dict[str, np.ndarray]

    @property
    def count(self) -> int:
        """P."""
        return len(next(iter(self.images.values())))


class Rows(NamedTuple):
    """A kind of example, and how to find all examples of the kind in a split.

    `find` takes a data set and the indices of a split's images, int64 ``[n]``, and returns examples
    that use no other images. It raises `UserError` if the data set has none of the kind.
    """

    name: str  #: a plural, for the log: "images"
    find: Callable[[Dataset, Int64[np.ndarray, " n"]], Examples]


def of_images(index: Int64[np.ndarray, " n"]) -> Examples:
    """Single images, as "x"."""
    return Examples({"x": index}, {})


def of_transitions(pairs: transitions.Transitions) -> Examples:
    """Pairs of images, "x" and "y", and the "action" that leads from x to y."""
    return Examples({"x": pairs.x, "y": pairs.y}, {"action": pairs.action})


def _find_pairs(dataset: Dataset, index: Int64[np.ndarray, " n"]) -> Examples:
    return of_transitions(transitions.build(dataset.factors, dataset.info, index))


#: Every image (`of_images`).
IMAGES = Rows("images", lambda dataset, index: of_images(index))
#: Every transition (`of_transitions`).
PAIRS = Rows("pairs", _find_pairs)
