"""Pendulum as CausalVAE published it: the authors' own files, read from a folder or a zip file.

A file's name holds the angle of the pendulum and that of the light in steps of pi / 200, which are
exact, and the length and position of the shadow cut to whole numbers. Here the shadow's labels are
computed from the two angles, in full precision, by the physics that the published script draws;
the numbers in the names are only compared with them.
"""

import functools
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32, Float64, Int64

from cdis.data.causalvae_files import CausalVaeFiles
from cdis.data.mechanism import Mechanism
from cdis.data.pendulum import GRAPH, NAMES, scene
from cdis.data.pendulum_published import MECHANISM, published_test, steps
from cdis.errors import UserError


class PendulumOriginal(CausalVaeFiles):
    """The authors' images as tfds data sets, pendulum/original and pendulum/original_split.

    Values and mechanism are those of pendulum/published. Files may be a part of the published ones,
    and pendulum/original does not need them in folders train and test.
    """

    name = "pendulum"
    PARTIAL = True
    FACTORS: ClassVar = NAMES
    GRAPH: ClassVar = GRAPH
    FOLDER = "pendulum"
    ABOUT = (
        "A sun, a pendulum and its shadow; the authors' own images. Labels of the shadow, which "
        "the names of files cut to whole numbers, are computed anew from the two angles."
    )

    @classmethod
    @functools.cache
    def numbers(cls, split: str) -> Int64[np.ndarray, "n 4"]:
        rows = np.column_stack([steps(), _cut(scene(*steps().T))])
        return np.unique(rows[published_test() == (split == "test")], axis=0)

    @classmethod
    def values_of(cls, numbers: Int64[np.ndarray, "n 4"]) -> Float32[np.ndarray, "n 4"]:
        """Raises `UserError` if the shadow that a name gives is not that of its two angles."""
        published = {*map(tuple, steps().tolist())}
        if strange := [row for row in numbers.tolist() if (row[0], row[1]) not in published]:
            raise UserError(
                f"{_file(strange[0])} is not an image of {cls.name}, whose angles, the first two "
                "numbers, are -40 to 43 and 60 to 147 without 100. Remove it."
            )
        values = scene(*numbers[:, :2].T)
        wrong = (_cut(values) != numbers[:, 2:]).any(axis=1)
        if wrong.any():
            first = wrong.argmax()
            length, position = values[first, 2:]
            raise UserError(
                f"{_file(numbers[first])} contradicts itself: at these angles, the first two "
                f"numbers, the shadow is {length:.2f} long and at {position:.2f}. Draw it again, "
                "or remove it."
            )
        return values.astype(np.float32)

    @classmethod
    def mechanism(cls, config: Any) -> Mechanism:
        del config
        return MECHANISM


def _cut(values: Float64[np.ndarray, "n 4"]) -> Int64[np.ndarray, "n 2"]:
    """The shadow's length and position as names give them.

    No length but the shortest, which is set to 3, and no position is closer than 3e-5 to a whole
    number, so rounding does not matter.
    """
    return values[:, 2:].astype(np.int64)


def _file(numbers: Any) -> str:
    return "a_" + "_".join(map(str, numbers)) + ".png"
