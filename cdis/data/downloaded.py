"""Data sets that others published: the tfds builder they have in common."""

import abc
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from cdis.data import download
from cdis.data.builder import Chunk, ImageBuilder
from cdis.errors import UserError

CHUNK = 1024  # images: about as many as are decoded at once
_LARGEST_CHUNK = 1 << 15


class DownloadedBuilder(ImageBuilder):
    """A tfds builder that reads the files its authors published, not as tfds or others repack them.

    A data set derives from it, names its variants in `BUILDER_CONFIGS` and defines `FILES` (or
    `files`, if variants differ in them), `facts` and `read`. Its images hold each combination of
    the factors once, whatever their order in the files: this is asserted while they are read.
    """

    DONE = "stored"

    FILES: ClassVar[tuple[download.File, ...]]

    @classmethod
    def files(cls, config: Any) -> tuple[download.File, ...]:
        """What is downloaded."""
        del config
        return cls.FILES

    @classmethod
    @abc.abstractmethod
    def read(cls, config: Any, paths: tuple[Path, ...], index: np.ndarray) -> Iterable[Chunk]:
        """The images of the files (`paths`, in the order of `files`), each at most once.

        Those numbered `index` must be among them; others may be, for parsers that cannot skip. An
        image's number is its place in the files.

        Raises anything if a file is not of the form expected; a ValueError says best what is amiss.
        """

    def fetch(self, downloads: Path, manual_dir: Path | None) -> None:
        facts = self.facts(self.builder_config)
        self._paths = download.fetch(
            self.files(self.builder_config),
            facts.name,
            downloads / self.name,
            manual_dir,
            downloads / "manual",
        )
        self._seen = np.zeros(math.prod(facts.factor_sizes), bool)

    def chunks(self, index: np.ndarray) -> Iterator[Chunk]:
        facts = self.facts(self.builder_config)
        wanted = np.zeros(facts.num_images, bool)
        wanted[index] = True
        try:
            for chunk in self.read(self.builder_config, self._paths, index):
                kept = wanted[chunk.index]
                wanted[chunk.index] = False
                chunk = Chunk(*(column[kept] for column in chunk))
                self._count(chunk.factors, facts.factor_sizes)
                yield chunk
            if missing := np.count_nonzero(wanted):
                raise ValueError(f"{missing:,} images are missing")
        except MemoryError:
            raise
        except Exception as error:  # HDF5, zip, gzip, tar and MATLAB readers each have their own
            names = " and ".join(map(str, self._paths))
            why = " ".join(str(error).split()) or type(error).__name__
            raise UserError(
                f"{facts.name} cannot be made from {names}: {why}. "
                "Delete what is damaged there, fetch it again, and run: cdis data prepare "
                f"{facts.name}"
            ) from error

    def _count(self, factors: np.ndarray, sizes: tuple[int, ...]) -> None:
        """Asserts that no combination comes twice.

        As many images are asked for as there are combinations, over all splits, and none may be
        missing: so each comes once.
        """
        cell = np.asarray(np.ravel_multi_index(tuple(factors.T), sizes))
        if self._seen[cell].any() or len(np.unique(cell)) < len(cell):
            raise ValueError("two images have the same factors")
        self._seen[cell] = True


def index_values(
    values: np.ndarray, sizes: tuple[int, ...], names: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Factor indices and values as they are stored: int32 and float32 [n, F], from physical values.

    The index of a value is its place among those that occur, in ascending order. Raises ValueError
    if a factor has another number of values than its size.
    """
    columns = []
    for name, size, column in zip(names, sizes, values.T, strict=True):
        kinds, index = np.unique(column, return_inverse=True)
        if len(kinds) != size:
            raise ValueError(f"{name} has {len(kinds)} values, not {size}")
        columns.append(index)
    return np.stack(columns, axis=1).astype(np.int32), values.astype(np.float32)


def array_chunks(images: Any, factors: np.ndarray, values: np.ndarray) -> Iterator[Chunk]:
    """Slices of an HDF5 data set of images, and of their labels.

    As many at once as are compressed together, so that nothing is decompressed twice.
    """
    together = images.chunks[0] if images.chunks else 1
    step = min(together * -(-CHUNK // together), _LARGEST_CHUNK)
    for start in range(0, len(images), step):
        rows = slice(start, start + step)
        index = np.arange(len(images))[rows]
        yield Chunk(index, images[rows], factors[rows], values[rows])


def expect(what: str, found: Any, wanted: Any) -> None:
    """Raises ValueError unless the two are equal."""
    if found != wanted:
        raise ValueError(f"{what} is {found}, not {wanted}")


def shrink(images: np.ndarray, side: int) -> np.ndarray:
    """Square uint8 images [b, H, H, C] at another side: [b, side, side, C]; as they are if equal.

    By Pillow's bilinear filter, whose support grows with the factor: antialiased.
    """
    if images.shape[1] == side:
        return images
    squeezed = images[..., 0] if images.shape[-1] == 1 else images
    resized = [
        np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))
        for image in squeezed
    ]
    return np.stack(resized).reshape(len(images), side, side, images.shape[-1])
