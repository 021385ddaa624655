"""Cars3D, read from the MATLAB files in the archive of its authors."""

import dataclasses
import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import scipy.io
import tensorflow_datasets as tfds

from cdis.data.builder import Chunk
from cdis.data.download import File
from cdis.data.downloaded import DownloadedBuilder, expect, shrink
from cdis.data.grid import grid_columns
from cdis.data.info import Info

_MESH = re.compile(r"(?:^|/)car_\d+_mesh\.mat$")
_ARCHIVE = "nips2015-analogy-data.tar.gz"


@dataclasses.dataclass(eq=False, kw_only=True)
class Variant(tfds.core.BuilderConfig):
    """A tfds configuration: the side of an image in pixels."""

    side: int


class Cars3d(DownloadedBuilder):
    """A car on white; factors are the elevation and azimuth of the view, and the type of car.

    The archive has a file per type, with an array "im" [row, column, channel, azimuth, elevation];
    types are numbered in the order of file names. Other data sets in the archive are not read. The
    azimuth is in degrees from the first of 24 views around the car; elevations are numbered, since
    their angles are not published.

    The published images have 128 x 128 pixels. cars3d resizes them to 64 x 64, the size used in the
    literature, by Pillow's antialiased bilinear filter; cars3d/128 keeps them.
    """

    name = "cars3d"
    BUILDER_CONFIGS: ClassVar = [
        Variant(name="default", side=64),
        Variant(name="128", side=128),
    ]
    SIZES: ClassVar = (4, 24, 183)
    STORED: ClassVar = 128
    FILES = (
        File(
            name=_ARCHIVE,
            urls=(
                f"http://www.scottreed.info/files/{_ARCHIVE}",
                f"http://www-personal.umich.edu/~reedscot/files/{_ARCHIVE}",
            ),
            md5="4e866a7919c1beedf53964e6f7a23686",
        ),
    )

    @classmethod
    def whole(cls, config: Variant) -> Info:
        return Info(
            name=cls.name if config.side == 64 else f"{cls.name}/{config.name}",
            factor_names=("elevation", "azimuth", "type"),
            factor_sizes=cls.SIZES,
            circular=(False, True, False),
            image_shape=(config.side, config.side, 3),
            licence="not stated",
            citation=(
                "Reed, Zhang, Zhang and Lee, Deep Visual Analogy-Making, NIPS 2015; 3D models by "
                "Fidler, Dickinson and Urtasun, NIPS 2012"
            ),
            description=(
                "A car on white, seen from all directions; every combination of the factors once."
            ),
            unordered=("type",),
        )

    @classmethod
    def read(cls, config: Variant, paths: tuple[Path, ...], index: np.ndarray) -> Iterator[Chunk]:
        del index
        elevations, azimuths, types = cls.SIZES
        shape = (cls.STORED, cls.STORED, 3, azimuths, elevations)
        # The views of a car in the order of its images: by azimuth, elevation varying fastest.
        azimuth, elevation = grid_columns((azimuths, elevations))
        views = len(azimuth)
        with tarfile.open(paths[0], "r:gz") as archive:
            names = sorted(name for name in archive.getnames() if _MESH.search(name))
        expect("the number of files car_*_mesh.mat", len(names), types)
        with tarfile.open(paths[0], "r:gz") as archive:
            for member in archive:
                if member.name not in names:
                    continue
                content = archive.extractfile(member)
                if content is None:
                    raise ValueError(f"{member.name} is not a file")
                images = scipy.io.loadmat(io.BytesIO(content.read()))["im"]
                expect(f"the shape of im in {member.name}", images.shape, shape)
                expect(f"the type of im in {member.name}", images.dtype, np.dtype(np.uint8))
                images = images.transpose(3, 4, 0, 1, 2).reshape(views, *shape[:3])
                kind = names.index(member.name)
                factors = np.stack([elevation, azimuth, np.full(views, kind)], axis=1)
                yield Chunk(
                    kind * views + np.arange(views),
                    shrink(images, config.side),
                    factors.astype(np.int32),
                    (factors * [1, 360 / azimuths, 1]).astype(np.float32),
                )
