"""The common tfds builder of data sets that others published."""

import abc
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from cdis.data import download
from cdis.data.builder import Chunk, ImageBuilder
from cdis.data.info import Info
from cdis.data.part import Kept, Part
from cdis.errors import UserError

CHUNK = 1024  # images: about how many are decoded at once
_LARGEST_CHUNK = 1 << 15


class DownloadedBuilder(ImageBuilder):
    """A tfds builder that reads the files its authors published, not copies repacked by others.

    Data sets derive from it, list their variants in `BUILDER_CONFIGS` and define `FILES` (or
    `files`, if it depends on the variant), `whole` and `read`. Each combination of factors must
    occur exactly once, in any order; this is checked while the files are read.

    A variant in `PARTS` has only some values of each factor. Images must then be in the order of
    their factors, the last varying fastest, so that the others need not be read.
    """

    DONE = "converted"

    FILES: ClassVar[tuple[download.File, ...]]
    #: By the name of a variant, the values that it keeps.
    PARTS: ClassVar[Mapping[str, Kept]] = {}

    @classmethod
    @abc.abstractmethod
    def whole(cls, config: Any) -> Info:
        """Facts about all images in the files of a variant, even if it is a part of them."""

    @classmethod
    def facts(cls, config: Any) -> Info:
        whole, kept = cls.whole(config), cls.PARTS.get(config.name)
        return Part(whole, kept).info(f"{cls.name}/{config.name}") if kept else whole

    @classmethod
    def files(cls, config: Any) -> tuple[download.File, ...]:
        """The files to download."""
        del config
        return cls.FILES

    @classmethod
    @abc.abstractmethod
    def read(cls, config: Any, paths: tuple[Path, ...], index: np.ndarray) -> Iterable[Chunk]:
        """The images in the files (`paths`, in the order of `files`), each at most once.

        They must include those numbered `index`; a parser that cannot skip may yield others too. An
        image's number is its position in the files.

        May raise anything if a file has another format than expected; prefer a ValueError that says
        what is wrong.
        """

    def fetch(self, downloads: Path, manual_dir: Path | None) -> None:
        info = self.info_of(self.builder_config)
        self._paths = download.fetch(
            self.files(self.builder_config),
            info.name,
            downloads / self.name,
            manual_dir,
            downloads / "manual",
        )
        self._seen = np.zeros(math.prod(info.factor_sizes), bool)

    def chunks(self, index: np.ndarray) -> Iterator[Chunk]:
        config: Any = self.builder_config
        info, whole = self.info_of(config), self.whole(config)
        part = Part(whole, self.PARTS.get(config.name, {}))
        places = part.places[index]
        wanted = np.zeros(whole.num_images, bool)
        wanted[places] = True
        try:
            for chunk in self.read(config, self._paths, places):
                kept = wanted[chunk.index]
                wanted[chunk.index] = False
                chunk = part.narrow(Chunk(*(column[kept] for column in chunk)))
                self._check_unique(chunk.factors, info.factor_sizes)
                yield chunk
            if missing := np.count_nonzero(wanted):
                raise ValueError(f"{missing:,} images are missing")
        except MemoryError:
            raise
        except Exception as error:  # HDF5, zip, gzip, tar and MATLAB readers raise their own
            names = " and ".join(map(str, self._paths))
            why = " ".join(str(error).split()) or type(error).__name__
            raise UserError(
                f"{info.name} cannot be read from {names}: {why}. Delete the damaged file, "
                f"download it again, and run: cdis data prepare {info.name}"
            ) from error

    def _check_unique(self, factors: np.ndarray, sizes: tuple[int, ...]) -> None:
        """Raise ValueError if a combination occurs twice.

        Over all splits, as many images are requested as there are combinations, and none may be
        missing; so each occurs exactly once.
        """
        cell = np.asarray(np.ravel_multi_index(tuple(factors.T), sizes))
        if self._seen[cell].any() or len(np.unique(cell)) < len(cell):
            raise ValueError("two images have the same factors")
        self._seen[cell] = True


def index_values(
    values: np.ndarray, sizes: tuple[int, ...], names: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Factor indices and values to store, int32 and float32 [n, F], from physical values.

    The index of a value is its rank among the factor's distinct values, in ascending order. Raises
    ValueError if a factor does not have as many distinct values as its size.
    """
    columns = []
    for name, size, column in zip(names, sizes, values.T, strict=True):
        kinds, index = np.unique(column, return_inverse=True)
        if len(kinds) != size:
            raise ValueError(f"{name} has {len(kinds)} values, not {size}")
        columns.append(index)
    return np.stack(columns, axis=1).astype(np.int32), values.astype(np.float32)


def array_chunks(
    images: Any, factors: np.ndarray, values: np.ndarray, index: np.ndarray
) -> Iterator[Chunk]:
    """Slices of an HDF5 data set of images, and of their labels: those that hold any of `index`.

    Slices align with the blocks of HDF5, so that nothing is decompressed twice.
    """
    together = images.chunks[0] if images.chunks else 1
    step = min(together * -(-CHUNK // together), _LARGEST_CHUNK)
    for number in np.unique(index // step):
        rows = slice(number * step, (number + 1) * step)
        numbers = np.arange(len(images))[rows]
        yield Chunk(numbers, images[rows], factors[rows], values[rows])


def expect(what: str, found: Any, wanted: Any) -> None:
    """Raise ValueError unless the two are equal."""
    if found != wanted:
        raise ValueError(f"{what} is {found}, not {wanted}")


def shrink(images: np.ndarray, side: int) -> np.ndarray:
    """Square uint8 images [b, H, H, C], resized to [b, side, side, C].

    Uses Pillow's bilinear filter, whose support grows with the scale factor: antialiased.
    """
    if images.shape[1] == side:
        return images
    squeezed = images[..., 0] if images.shape[-1] == 1 else images
    resized = [
        np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))
        for image in squeezed
    ]
    return np.stack(resized).reshape(len(images), side, side, images.shape[-1])
