"""Flow as CausalVAE published it: the authors' own files, read from a folder or a zip file.

A file's name holds the ball's radius in steps of 1/30, the height of the water above y = 5 cut to a
whole number, the jet's reach without its noise in steps of 0.1, also cut, and the height of the
hole in steps of 1/3.
"""

import functools
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Int64

from cdis.data.causalvae_files import CausalVaeFiles, centre
from cdis.data.flow_physics import GRAPH, NAMES, PUSH, grid, table


class FlowOriginal(CausalVaeFiles):
    """The authors' images of Flow as tfds data sets, flow/original and flow/original_split.

    Values are those of flow/published, in units of the plane; heights of water and reaches are the
    middles of cells 1 and 0.1 wide.
    """

    name = "flow"
    FACTORS: ClassVar = NAMES
    GRAPH: ClassVar = GRAPH
    ORDER: ClassVar = (0, 1, 3, 2)
    FOLDER = "flow_noise"
    ABOUT = (
        "A ball raises the water in a cup, which leaves through a hole in a jet; the authors' own "
        "images. The labels of water and jet are cut: a height of 2.5 stands for 2 to 3, a reach "
        "of 3.65 for 3.6 to 3.7, without the noise that the image shows."
    )

    @classmethod
    @functools.cache
    def numbers(cls, split: str) -> Int64[np.ndarray, "n 4"]:
        _, height, _, reach = table(PUSH).T
        ball, _, hole = grid()
        rows = np.stack([ball, height, 10 * reach, hole], axis=1).astype(np.int64)
        # Every fifth image drawn is for testing. A later image replaces one of the same name.
        test = np.arange(len(rows)) % 5 == 4
        return np.unique(rows[test == (split == "test")], axis=0)

    @classmethod
    def values_of(cls, numbers: Int64[np.ndarray, "n 4"]) -> Float32[np.ndarray, "n 4"]:
        ball, height, hole, reach = numbers.T
        columns = ball / 30, centre(height), hole / 3, centre(reach) / 10
        return np.stack(columns, axis=1).astype(np.float32)
