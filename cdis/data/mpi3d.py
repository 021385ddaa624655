"""MPI3D (toy, realistic, real), read from the NumPy archives of its authors."""

import dataclasses
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from cdis.data.builder import Chunk
from cdis.data.download import File
from cdis.data.downloaded import CHUNK, DownloadedBuilder, expect
from cdis.data.grid import grid_columns
from cdis.data.info import Info

_AUTHORS = "https://huggingface.co/datasets/waleedgondal/mpi3d/resolve/main"
_BUCKET = "https://storage.googleapis.com/mpi3d_disentanglement_dataset/data"
_FILES = {
    "toy": File(
        name="mpi3d_toy.npz",
        urls=(f"{_AUTHORS}/mpi3d_toy.npz", f"{_BUCKET}/mpi3d_toy.npz"),
        md5="55889cb7c7dfc655d6e0277beee88868",
    ),
    "realistic": File(
        name="mpi3d_realistic.npz",
        urls=(f"{_AUTHORS}/mpi3d_realistic.npz", f"{_BUCKET}/mpi3d_realistic.npz"),
        md5="59a6225b88b635365f70c91b3e52f70f",
    ),
    "real": File(name="mpi3d_real.npz", urls=(f"{_AUTHORS}/mpi3d_real.npz",)),
}


@dataclasses.dataclass(eq=False, kw_only=True)
class Variant(tfds.core.BuilderConfig):
    """A tfds configuration: the file of its images."""

    file: File


class Mpi3d(DownloadedBuilder):
    """A robot arm holding an object: a simple rendering, a realistic one, or photographs.

    The archive has one array, "images", and no labels: its authors document that images are in the
    order of the factors, the last one varying fastest. Values are indices: colour (white, green,
    red, blue, brown, olive), shape (cone, cube, cylinder, hexagonal, pyramid, sphere), size (small,
    large), camera height (top, centre, bottom), background (purple, sea green, salmon), and the
    positions of the arm along two axes. All three variants have 6 colours and 6 shapes; the data
    set MPI3D-complex, with 4 and 4, is not included.

    The small variants have every seventh position along each axis.

    There is no hash of the present file of mpi3d/real, which its authors uploaded again in April
    2025. The hashes of toy and realistic were published before the files moved.
    """

    name = "mpi3d"
    BUILDER_CONFIGS: ClassVar = [
        Variant(name=name + size, file=file)
        for size in ("", "_small")
        for name, file in _FILES.items()
    ]
    PARTS: ClassVar = {
        f"{name}_small": {"horizontal_axis": range(2, 40, 7), "vertical_axis": range(2, 40, 7)}
        for name in _FILES
    }
    SIZES: ClassVar = (6, 6, 2, 3, 3, 40, 40)

    @classmethod
    def files(cls, config: Variant) -> tuple[File, ...]:
        return (config.file,)

    @classmethod
    def whole(cls, config: Variant) -> Info:
        return Info(
            name=f"{cls.name}/{config.name}",
            factor_names=(
                "object_color",
                "object_shape",
                "object_size",
                "camera_height",
                "background_color",
                "horizontal_axis",
                "vertical_axis",
            ),
            factor_sizes=cls.SIZES,
            circular=(False,) * 7,
            image_shape=(64, 64, 3),
            licence="CC-BY-4.0",
            citation=(
                "Gondal, Wüthrich, Miladinović, Locatello, Breidt, Volchkov, Akpo, Bachem, "
                "Schölkopf and Bauer, On the Transfer of Inductive Bias from Simulation to the "
                "Real World: a New Disentanglement Dataset, NeurIPS 2019"
            ),
            description=(
                "A robot arm moves one of 36 objects; every combination of the factors once."
            ),
            unordered=("object_color", "object_shape", "background_color"),
        )

    @classmethod
    def read(cls, config: Variant, paths: tuple[Path, ...], index: np.ndarray) -> Iterator[Chunk]:
        facts = cls.whole(config)
        count, size = facts.num_images, int(np.prod(facts.image_shape))
        factors = np.stack(grid_columns(cls.SIZES), axis=1).astype(np.int32)
        # Streamed: all images together would take 12.7 GB.
        with zipfile.ZipFile(paths[0]) as archive, archive.open("images.npy") as member:
            version = np.lib.format.read_magic(member)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, by_columns, type_ = read_header(member)
            expect("the number of pixel values", int(np.prod(shape)), count * size)
            expect("the last sizes of images", tuple(shape[-3:]), facts.image_shape)
            expect("the type of images", (type_, by_columns), (np.dtype(np.uint8), False))
            wanted = set((index // CHUNK).tolist())
            for start in range(0, count, CHUNK):
                rows = np.arange(start, min(start + CHUNK, count))
                content = member.read(len(rows) * size)
                expect("the rest of images, in bytes", len(content), len(rows) * size)
                if start // CHUNK in wanted:
                    images = np.frombuffer(content, np.uint8).reshape(-1, *facts.image_shape)
                    yield Chunk(rows, images, factors[rows], factors[rows].astype(np.float32))
