"""Shapes3D, read from the HDF5 file of its authors."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import tensorflow_datasets as tfds

from cdis.data.builder import Chunk
from cdis.data.download import File
from cdis.data.downloaded import DownloadedBuilder, array_chunks, expect, index_values
from cdis.data.info import Info

NAMES = ("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation")


class Shapes3d(DownloadedBuilder):
    """An object in a room; factors are floor, wall and object hue, scale, shape and orientation.

    Values are those of the file: hues in turns from 0 to 0.9, so that a step up from the last leads
    to the first; scale from 0.75 to 1.25; shapes by number (cube, cylinder, sphere, capsule);
    orientation from -30 to 30 degrees. shapes3d/small has the values that rooms3d/small has.
    """

    name = "shapes3d"
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name="default"),
        tfds.core.BuilderConfig(name="small"),
    ]
    PARTS: ClassVar = {
        "small": {
            "floor_hue": range(0, 10, 2),
            "wall_hue": range(0, 10, 2),
            "object_hue": range(0, 10, 2),
            "scale": range(1, 8, 2),
            "orientation": range(1, 15, 3),
        }
    }
    SIZES: ClassVar = (10, 10, 10, 8, 4, 15)
    FILES = (
        File(
            name="3dshapes.h5",
            urls=("https://storage.googleapis.com/3d-shapes/3dshapes.h5",),
            size=267_573_662,
            sha256="0a0f6ed98baff276a50f3a081a7434d788da63cb135a98189b2a5b5769be1785",
            md5="099a2078d58cec4daad0702c55d06868",
        ),
    )

    @classmethod
    def whole(cls, config: Any) -> Info:
        del config
        return Info(
            name=cls.name,
            factor_names=NAMES,
            factor_sizes=cls.SIZES,
            circular=(True, True, True, False, False, False),
            image_shape=(64, 64, 3),
            licence="Apache-2.0",
            citation=(
                "Burgess and Kim, 3D Shapes Dataset, 2018, "
                "https://github.com/deepmind/3dshapes-dataset"
            ),
            description=(
                "A cube, cylinder, sphere or capsule in a room; every combination of the factors "
                "once."
            ),
            unordered=("shape",),
        )

    @classmethod
    def read(cls, config: Any, paths: tuple[Path, ...], index: np.ndarray) -> Iterator[Chunk]:
        facts = cls.whole(config)
        file: Any = h5py.File(paths[0])
        with file:
            images, labels = file["images"], file["labels"]
            expect("the shape of images", images.shape, (facts.num_images, *facts.image_shape))
            expect("the type of images", images.dtype, np.dtype(np.uint8))
            expect("the shape of labels", labels.shape, (facts.num_images, facts.num_factors))
            yield from array_chunks(images, *index_values(labels[:], cls.SIZES, NAMES), index)
