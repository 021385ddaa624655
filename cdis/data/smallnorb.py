"""SmallNORB, read from the binary matrices of its authors."""

import dataclasses
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from cdis.data.builder import Chunk
from cdis.data.download import File
from cdis.data.downloaded import CHUNK, DownloadedBuilder, expect, shrink
from cdis.data.info import Info

# Element types by the first four bytes of a matrix.
_TYPES = {0x1E3D4C55: np.dtype("u1"), 0x1E3D4C54: np.dtype("<i4")}

_HASHES = {
    "5x46789x9x18x6x2x96x96-training-dat": (
        131_896_188,
        "5ffd6272a07d32695ee1082a26a41a93a37aab8c28da047f8c34ed348d214873",
    ),
    "5x46789x9x18x6x2x96x96-training-cat": (
        348,
        "2784e542c1922060691090952b6cd6278879a216c90f81476f0f00256d42cdaa",
    ),
    "5x46789x9x18x6x2x96x96-training-info": (
        71_052,
        "de7eb932ebe7a4ee16217fead60660d0eb3d23632c2f4d1c51f88c501c17bf32",
    ),
    "5x01235x9x18x6x2x96x96-testing-dat": (
        130_799_817,
        "cf7104eed3e51174d2f65b66d1e5878b9da233b886f161b0d88f4510ba2c7474",
    ),
    "5x01235x9x18x6x2x96x96-testing-cat": (
        347,
        "ecaf6d5bb8c3bc5eab9cf0258f6d2198dd474e016e374836fc097f2e5ff509ff",
    ),
    "5x01235x9x18x6x2x96x96-testing-info": (
        10_428,
        "16adf314226327ee006d1a44db8cfef52773c06c829951d5653a9f6f310248a2",
    ),
}


@dataclasses.dataclass(eq=False, kw_only=True)
class Variant(tfds.core.BuilderConfig):
    """A tfds configuration: the side of an image in pixels."""

    side: int


class Smallnorb(DownloadedBuilder):
    """Grey toys; factors are category, instance, elevation, azimuth and lighting.

    Training files, then test files, are read as one data set: each holds five of the ten instances
    of each category, and only together do they cross all factors. Images are those of the first of
    two cameras. Values: category (four-legged animal, human figure, airplane, truck, car), instance
    and lighting by number; elevation from 30 to 70 and azimuth from 0 to 340, in degrees.

    The published images have 96 x 96 pixels. smallnorb resizes them to 64 x 64, the size used in
    the literature, by Pillow's antialiased bilinear filter; smallnorb/96 keeps them.
    """

    name = "smallnorb"
    BUILDER_CONFIGS: ClassVar = [
        Variant(name="default", side=64),
        Variant(name="96", side=96),
    ]
    SIZES: ClassVar = (5, 10, 9, 18, 6)
    STORED: ClassVar = 96
    FILES = tuple(
        File(
            name=f"smallnorb-{name}.mat.gz",
            urls=(
                f"https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/smallnorb-{name}.mat.gz",
                f"https://cs.nyu.edu/~yann/data/norb-v1.0-small/smallnorb-{name}.mat.gz",
            ),
            size=size,
            sha256=sha256,
        )
        for name, (size, sha256) in _HASHES.items()
    )

    @classmethod
    def whole(cls, config: Variant) -> Info:
        return Info(
            name=cls.name if config.side == 64 else f"{cls.name}/{config.name}",
            factor_names=("category", "instance", "elevation", "azimuth", "lighting"),
            factor_sizes=cls.SIZES,
            circular=(False, False, False, True, False),
            image_shape=(config.side, config.side, 1),
            licence="not stated",
            citation=(
                "LeCun, Huang and Bottou, Learning Methods for Generic Object Recognition with "
                "Invariance to Pose and Lighting, CVPR 2004"
            ),
            description=("Photographs of fifty grey toys; every combination of the factors once."),
            unordered=("category", "instance", "lighting"),
        )

    @classmethod
    def read(cls, config: Variant, paths: tuple[Path, ...], index: np.ndarray) -> Iterator[Chunk]:
        del index
        start = 0
        for pictures, *labels in (paths[:3], paths[3:]):
            categories, rows = (_matrix(path) for path in labels)
            count = len(categories)
            expect(f"the shape of {labels[0].name}", categories.shape, (count,))
            expect(f"the shape of {labels[1].name}", rows.shape, (count, 4))
            # Azimuths are numbered 0, 2, ..., 34, in tens of degrees.
            factors = np.column_stack([categories, rows // [1, 1, 2, 1]])
            values = np.column_stack([categories, rows * [1, 5, 10, 1] + [0, 30, 0, 0]])
            for first, images in cls._pictures(pictures, count):
                here = slice(first, first + len(images))
                yield Chunk(
                    start + np.arange(count)[here],
                    shrink(images, config.side),
                    factors[here].astype(np.int32),
                    values[here].astype(np.float32),
                )
            start += count

    @classmethod
    def _pictures(cls, path: Path, count: int) -> Iterator[tuple[int, np.ndarray]]:
        """The start of each chunk, and its images of the first camera, uint8 [b, 96, 96, 1]."""
        with gzip.open(path) as file:
            type_, shape = _header(file)
            wanted = (np.dtype("u1"), (count, 2, cls.STORED, cls.STORED))
            expect(f"the type and shape of {path.name}", (type_, shape), wanted)
            for first in range(0, count, CHUNK):
                number = min(CHUNK, count - first)
                yield first, _elements(file, type_, (number, *shape[1:]))[:, 0, ..., None]


def _header(file: gzip.GzipFile) -> tuple[np.dtype, tuple[int, ...]]:
    """Type and shape of a matrix: a magic number, the rank, and three or more sizes."""
    magic, rank = (int(number) for number in _elements(file, np.dtype("<i4"), (2,)))
    if magic not in _TYPES:
        raise ValueError(f"a matrix begins with {magic:#x}, which is not a known element type")
    sizes = _elements(file, np.dtype("<i4"), (max(rank, 3),))
    return _TYPES[magic], tuple(int(size) for size in sizes[:rank])


def _elements(file: gzip.GzipFile, type_: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape)) * type_.itemsize
    content = file.read(size)
    if len(content) < size:
        raise ValueError("a matrix is truncated")
    return np.frombuffer(content, type_).reshape(shape)


def _matrix(path: Path) -> np.ndarray:
    with gzip.open(path) as file:
        return _elements(file, *_header(file))
