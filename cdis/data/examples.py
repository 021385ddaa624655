"""What a batch is made of: single images, pairs of images, or rows of one's own."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from cdis.data import transitions
from cdis.data.info import Dataset


class Examples(NamedTuple):
    """P rows to draw batches from; each names one image for each role, and carries labels.

    `images` maps a role, "x" or "y", to indices of images, int64 ``[P]``, or ``[P, T]`` for T
    images in a sequence; `labels` maps names, such as "action", to arrays ``[P, ...]``. A batch is
    ``{role: {column: [B, ...]}, label: [B, ...]}``.
    """

    images: dict[str, Int64[np.ndarray, "p ..."]]
    labels: dict[str, np.ndarray]

    @property
    def count(self) -> int:
        """P."""
        return len(next(iter(self.images.values())))


class Rows(NamedTuple):
    """A kind of example, and how to find all examples among some images of a data set.

    `find` takes a data set and the indices of a split's images, int64 ``[n]``, and returns examples
    of these images alone. It raises `UserError` for a data set that has none of the kind.
    """

    name: str  #: of several, for the log: "images"
    find: Callable[[Dataset, Int64[np.ndarray, " n"]], Examples]


def of_images(index: Int64[np.ndarray, " n"]) -> Examples:
    """Each image by itself, as "x"."""
    return Examples({"x": index}, {})


def of_transitions(pairs: transitions.Transitions) -> Examples:
    """Images "x" and "y", and the "action" that leads from one to the other."""
    return Examples({"x": pairs.x, "y": pairs.y}, {"action": pairs.action})


def _find_pairs(dataset: Dataset, index: Int64[np.ndarray, " n"]) -> Examples:
    return of_transitions(transitions.build(dataset.factors, dataset.info, index))


#: Every image by itself (`of_images`).
IMAGES = Rows("images", lambda dataset, index: of_images(index))
#: Every transition (`of_transitions`).
PAIRS = Rows("pairs", _find_pairs)
