"""Images as CausalVAE's own scripts draw and name them, from files that the user has.

CausalVAE (Yang, Liu, Chen, Shen, Hao and Wang, CVPR 2021) publishes scripts that draw Pendulum and
Flow: PNG files of 96 x 96 pixels in folders train and test, each named by four whole numbers, as in
a_23_2_36_10.png. Two of the numbers are steps of a grid; the other two are effects, cut to whole
numbers of their units. The same numbers may therefore name one image in train and another in test.
"""

import abc
import dataclasses
import functools
import io
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float32, Float64, Int64, UInt8
from PIL import Image

from cdis.data.builder import SPLITS, Chunk, ImageBuilder, split_of
from cdis.data.info import Info
from cdis.data.rendering import value_statistics
from cdis.errors import UserError

SIDE = 96  # pixels
PAGE = "https://github.com/huawei-noah/trustworthyAI/tree/master/research/CausalVAE"

_PUBLISHED = ("train", "test")  # the authors' splits
_NAME = re.compile("a" + r"_(0|-?[1-9]\d{0,5})" * 4 + r"\.png")
_CHUNK = 1024
_MOST_BYTES = 2**20  # of a file; pixels take 36 KiB
_Folder = Path | zipfile.Path


@dataclasses.dataclass(eq=False, kw_only=True)
class Variant(tfds.core.BuilderConfig):
    """A tfds configuration.

    Attributes:
      published_split: whether images are split as their authors did.
      exact: whether labels are more precise than the names of the files are.
    """

    published_split: bool = False
    exact: bool = False


class CausalVaeFiles(ImageBuilder):
    """The common tfds builder of NAME/original and NAME/original_split.

    NAME/original has splits of ours, 70/15/15, without leaks: all images with the same numbers in
    their names are in one split. NAME/original_split has the authors' test images, of which some
    may share all numbers with training images, and takes 15 % of the names for validation.

    Data sets derive from it and define `name`, the attributes below, `numbers`, `values_of` and, if
    they like, `mechanism`. An image's number is its position among the names of train, sorted by
    their numbers, then those of test.
    """

    DONE = "converted"
    BUILDER_CONFIGS: ClassVar = [
        Variant(name="original"),
        Variant(name="original_split", published_split=True),
    ]

    FACTORS: ClassVar[tuple[str, ...]]  # four, in topological order
    GRAPH: ClassVar[tuple[tuple[int, ...], ...]]
    ORDER: ClassVar[tuple[int, ...]] = (0, 1, 2, 3)  # the position in a file's name of each factor
    FOLDER: ClassVar[str]  # the folder that the authors' script writes
    ABOUT: ClassVar[str]  # what images show and what numbers are cut to: a sentence or two

    @classmethod
    @abc.abstractmethod
    def numbers(cls, split: str) -> Int64[np.ndarray, "n 4"]:
        """The numbers in the names of the files that the authors' script writes, sorted by rows.

        `split` is "train" or "test". Files are checked against their count alone, because numbers
        that are cut may differ by one where the arithmetic of machines does.
        """

    @classmethod
    @abc.abstractmethod
    def values_of(cls, numbers: Int64[np.ndarray, "n 4"]) -> Float32[np.ndarray, "n 4"]:
        """The physical values that numbers of names, in the order of factors, stand for.

        `centre` gives the middle of the values that are cut to one number.
        """

    @classmethod
    def labels(
        cls, config: Any, train: Int64[np.ndarray, "a 4"], test: Int64[np.ndarray, "b 4"]
    ) -> Float32[np.ndarray, "n 4"]:
        """The values of all images, from the numbers in their names."""
        del config
        return cls.values_of(np.concatenate([train, test])[:, cls.ORDER])

    @classmethod
    @functools.cache
    def facts(cls, config: Any) -> Info:
        train, test = (cls.numbers(split) for split in _PUBLISHED)
        both = len({*map(tuple, train.tolist())} & {*map(tuple, test.tolist())})
        shared = f"{both:,} names occur in both of the authors' splits, with different images"
        splits = {
            (False, False): "Split 70/15/15 by a fixed seed.",
            (False, True): f"{shared}; here, images of the same name are in one split (70/15/15 "
            "by a fixed seed).",
            (True, False): "Split as published; validation is taken from train.",
            (True, True): f"Split as published, with a leak: {shared}. Validation is taken from "
            "train.",
        }[config.published_split, both > 0]
        return Info(
            name=f"{cls.name}/{config.name}",
            factor_names=cls.FACTORS,
            factor_sizes=(0,) * 4,
            circular=(False,) * 4,
            image_shape=(SIDE, SIDE, 3),
            licence="MIT",
            citation=(
                "Yang, Liu, Chen, Shen, Hao and Wang, CausalVAE: Disentangled Representation "
                "Learning via Neural Structural Causal Models, CVPR 2021"
            ),
            description=f"{cls.ABOUT} {splits}",
            count=len(train) + len(test),
            graph=cls.GRAPH,
            repeats=both > 0,
            **value_statistics(cls.labels(config, train, test)),
        )

    def fetch(self, downloads: Path, manual_dir: Path | None) -> None:
        place = downloads / "manual" if manual_dir is None else manual_dir
        if not place.exists():
            raise UserError(
                f"{place} does not exist; cdis reads {self.name} from files that you have and "
                f"downloads none: {self._wanted}."
            )
        folder = self._folder(place)
        apart = (folder / "train").is_dir()
        found = [sorted(self._named(folder / part)) for part in (_PUBLISHED if apart else ("",))]
        config: Any = self.builder_config
        if config.published_split and not apart:
            raise UserError(f"{folder} has no folders train and test: {self._wanted}.")
        if not self.PARTIAL:
            self._check_counts(folder, found)
        self._files = [file for part in found for _, file in part]
        numbers = np.array([numbers for part in found for numbers, _ in part]).reshape(-1, 4)
        train = len(found[0])
        self._values = self.labels(config, numbers[:train], numbers[train:])
        self._split = self._splits(numbers, train)
        if np.bincount(self._split, minlength=len(SPLITS)).min() == 0:
            raise UserError(
                f"{folder} has too few images for three splits, {len(numbers)}: {self._wanted}."
            )

    def split(self) -> UInt8[np.ndarray, " n"]:
        return self._split

    def chunks(self, index: np.ndarray) -> Iterator[Chunk]:
        for start in range(0, len(index), _CHUNK):
            rows = index[start : start + _CHUNK]
            images = np.stack([_image(self._files[i]) for i in rows])
            yield Chunk(rows, images, np.zeros((len(rows), 4), np.int32), self._values[rows])

    @property
    def _wanted(self) -> str:
        name = self.facts(self.builder_config).name
        return (
            f"give the folder {self.FOLDER}, or a zip file of it, with the folders train and test "
            f"as the script at {PAGE} writes them (cdis data prepare {name} "
            "--manual_dir FOLDER_OR_ZIP)"
        )

    def _folder(self, place: Path) -> _Folder:
        """The folder, perhaps in a zip file, with train and test: `place` or one below it.

        Of a data set that may be partial, it may hold the images themselves.
        """
        try:
            top = place if place.is_dir() else zipfile.Path(place)
            folders = [top, *_folders_in(top)]
            found = [f for f in folders if all((f / split).is_dir() for split in _PUBLISHED)]
            if self.PARTIAL and not found:
                found = [f for f in folders if any(_NAME.fullmatch(i.name) for i in f.iterdir())]
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{place} is neither a folder nor a zip file that can be read ({error}): "
                f"{self._wanted}."
            ) from error
        # Where files of several data sets lie together, the authors' name tells them apart.
        found = [folder for folder in found if folder.name == self.FOLDER] or found
        if len(found) != 1:
            number = "several folders" if found else "no folder"
            raise UserError(
                f"{place} has {number} with folders train and test in it: {self._wanted}."
            )
        return found[0]

    def _check_counts(self, folder: _Folder, found: list[list[Any]]) -> None:
        for split, part in zip(_PUBLISHED, found, strict=True):
            expected = len(self.numbers(split))
            if len(part) != expected:
                raise UserError(
                    f"{folder / split} has {len(part):,} images, but {self.name} has {expected:,} "
                    f"in {split}: {self._wanted}."
                )

    def _named(self, folder: _Folder) -> Iterator[tuple[tuple[int, ...], _Folder]]:
        """The numbers in the name of each file, and the file; hidden files are left out."""
        for file in folder.iterdir():
            if file.name.startswith("."):
                continue
            match = _NAME.fullmatch(file.name)
            if match is None:
                raise UserError(
                    f"{_tail(file)} is not named as all files of {self.name} are, "
                    "a_1_2_3_4.png with four whole numbers: remove it, or give another folder."
                )
            yield tuple(map(int, match.groups())), file

    def _splits(self, rows: np.ndarray, in_train: int) -> UInt8[np.ndarray, " n"]:
        """The split of each image, given the numbers in its name and how many are in train."""
        names, name = np.unique(rows, axis=0, return_inverse=True)
        split = split_of(len(names), self.SPLIT_SEED)[name.ravel()]
        config: Any = self.builder_config
        if config.published_split:
            train, validation, test = range(len(SPLITS))
            split[split != validation] = train
            split[in_train:] = test
        return split


def _folders_in(folder: _Folder, depth: int = 2) -> list[_Folder]:
    """The folders in a folder, and those in them."""
    inner = [child for child in folder.iterdir() if child.is_dir()] if depth else []
    return inner + [below for child in inner for below in _folders_in(child, depth - 1)]


def centre(cut: Int64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    """The middle of all numbers that `int` cuts to each of `cut`: halfway to the next from 0."""
    return cut + np.sign(cut) / 2


def _image(file: _Folder) -> UInt8[np.ndarray, "side side 3"]:
    """The pixels of a PNG over white."""
    try:
        with file.open("rb") as content:
            start = content.read(_MOST_BYTES)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(start), formats=("PNG",))
        with image:
            if image.size != (SIDE, SIDE):
                raise ValueError(f"it has {image.width} x {image.height} pixels, not 96 x 96")
            white = Image.new("RGBA", image.size, "white")
            return np.asarray(Image.alpha_composite(white, image.convert("RGBA")).convert("RGB"))
    # A damaged file is any of these to Pillow, and a damaged or encrypted archive to zipfile.
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        RuntimeError,
        zlib.error,
        zipfile.BadZipFile,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise UserError(
            f"{_tail(file)} cannot be used: {_tail(error)}. Draw or download it again, as a PNG of "
            f"{SIDE} x {SIDE} pixels."
        ) from error


def _tail(what: object) -> str:
    """The end of a path or message that may be very long."""
    return str(what)[-200:]
