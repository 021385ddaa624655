"""dSprites, read from the HDF5 file of its authors."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import tensorflow_datasets as tfds

from cdis.data.builder import Chunk
from cdis.data.download import File
from cdis.data.downloaded import DownloadedBuilder, array_chunks, expect
from cdis.data.info import Info

_FILE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.hdf5"


class Dsprites(DownloadedBuilder):
    """A white shape on black; factors are its shape, scale, orientation and position.

    The file has a sixth factor, colour, with only one value, which is left out. Pixels are 0 and 1
    in the file, 0 and 255 here. Values are those of the file: shapes by number (square, ellipse,
    heart), scale from 0.5 to 1, orientation from 0 to 2 pi, x and y from 0 to 1.

    Orientation is not circular here: its 40 evenly spaced angles include both 0 and 2 pi, so a step
    from the last to the first would not change the image.
    """

    name = "dsprites"
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name="default"),
        tfds.core.BuilderConfig(name="small"),
    ]
    PARTS: ClassVar = {
        "small": {"orientation": range(0, 40, 4), "x": range(2, 32, 3), "y": range(2, 32, 3)}
    }
    SIZES: ClassVar = (3, 6, 40, 32, 32)
    FILES = (
        File(
            name=_FILE,
            urls=(
                f"https://github.com/google-deepmind/dsprites-dataset/raw/master/{_FILE}",
                f"https://github.com/deepmind/dsprites-dataset/blob/master/{_FILE}?raw=true",
            ),
            size=28_024_106,
            sha256="729fa22e884c9c500e1f17415d580746b4c5894fbbb780a1319bbcfa39a745bb",
            md5="b331c4447a651c44bf5e8ae09022e230",
        ),
    )

    @classmethod
    def whole(cls, config: Any) -> Info:
        del config
        return Info(
            name=cls.name,
            factor_names=("shape", "scale", "orientation", "x", "y"),
            factor_sizes=cls.SIZES,
            circular=(False,) * 5,
            image_shape=(64, 64, 1),
            licence="Apache-2.0",
            citation=(
                "Matthey, Higgins, Hassabis and Lerchner, dSprites: Disentanglement testing "
                "Sprites dataset, 2017, https://github.com/deepmind/dsprites-dataset"
            ),
            description=(
                "A white square, ellipse or heart on black; every combination of the factors once."
            ),
            unordered=("shape",),
        )

    @classmethod
    def read(cls, config: Any, paths: tuple[Path, ...], index: np.ndarray) -> Iterator[Chunk]:
        facts = cls.whole(config)
        count = facts.num_images
        file: Any = h5py.File(paths[0])
        with file:
            images = file["imgs"]
            classes, values = (file["latents"][name] for name in ("classes", "values"))
            expect("the shape of imgs", images.shape, (count, *facts.image_shape[:2]))
            expect("the shape of latents/classes", classes.shape, (count, facts.num_factors + 1))
            expect("the shape of latents/values", values.shape, classes.shape)
            factors, values = classes[:, 1:].astype(np.int32), values[:, 1:].astype(np.float32)
            for chunk in array_chunks(images, factors, values, index):
                white = (chunk.images > 0)[..., None]
                yield chunk._replace(images=np.where(white, np.uint8(255), np.uint8(0)))
