"""CelebA: photographs of faces with forty binary attributes, from files that the user downloads.

Attributes do not form a grid: few of the 2**40 combinations occur, and some occur many times.
"""

import dataclasses
import io
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int8, UInt8
from PIL import Image

from cdis.data.builder import SPLITS, Chunk, ImageBuilder
from cdis.data.download import File
from cdis.data.info import Info
from cdis.errors import UserError

COUNT = 202_599
#: In the order of the columns of list_attr_celeba.txt.
ATTRIBUTES = (
    "5_o_Clock_Shadow",
    "Arched_Eyebrows",
    "Attractive",
    "Bags_Under_Eyes",
    "Bald",
    "Bangs",
    "Big_Lips",
    "Big_Nose",
    "Black_Hair",
    "Blond_Hair",
    "Blurry",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Chubby",
    "Double_Chin",
    "Eyeglasses",
    "Goatee",
    "Gray_Hair",
    "Heavy_Makeup",
    "High_Cheekbones",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Narrow_Eyes",
    "No_Beard",
    "Oval_Face",
    "Pale_Skin",
    "Pointy_Nose",
    "Receding_Hairline",
    "Rosy_Cheeks",
    "Sideburns",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Earrings",
    "Wearing_Hat",
    "Wearing_Lipstick",
    "Wearing_Necklace",
    "Wearing_Necktie",
    "Young",
)

SIDE = 64  # pixels, of a stored image
_ORIGINAL = (178, 218)  # width and height of an original
# The face: the middle square of 148 pixels, resized to 64, as in much published VAE code for
# CelebA, such as PyTorch-VAE.
_CROP = (15, 35, 163, 183)  # left, upper, right, lower

_PAGE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
_FOLDER = "img_align_celeba"
# The md5 sums are those of torchvision (torchvision/datasets/celeba.py, as of 2026-11). We did not
# have these files, so we could not check the sums.
IMAGES = File(f"{_FOLDER}.zip", (_PAGE,), md5="00d2c5bc6d35e252742224ab0c1e8fcb")
LABELS = File("list_attr_celeba.txt", (_PAGE,), md5="75e246fa4810816ffd6ee81facbd244c")
PARTITION = File("list_eval_partition.txt", (_PAGE,), md5="d32c9cbf5e040fd4025c592c306e6668")
# Where they are in the Google Drive or Baidu folders linked from that page.
_PLACES = {IMAGES.name: "in Img", LABELS.name: "in Anno", PARTITION.name: "in Eval"}


class Graph(NamedTuple):
    """Attributes in topological order, and the causes of each; no causes at all if unknown."""

    factors: tuple[str, ...]
    causes: Mapping[str, tuple[str, ...]]

    @property
    def adjacency(self) -> tuple[tuple[int, ...], ...] | None:
        """graph[i][j] = 1 if factor j causes factor i."""
        if not self.causes:
            return None
        return tuple(
            tuple(int(cause in self.causes.get(effect, ())) for cause in self.factors)
            for effect in self.factors
        )


_AGE = {
    "Receding_Hairline": ("Young", "Male"),
    "Heavy_Makeup": ("Young", "Male"),
    "Chubby": ("Young",),
    "Bags_Under_Eyes": ("Young",),
}
_AGE_FACTORS = ("Young", "Male", "Receding_Hairline", "Heavy_Makeup", "Chubby", "Bags_Under_Eyes")

#: Selections of attributes, by the name of the variant.
GRAPHS = {
    # The attributes whose transitions CT-VAE uses (arXiv 2302.00869).
    "first_10": Graph(ATTRIBUTES[:10], {}),
    # As in DEAR: Shen et al., "Weakly Supervised Disentangled Generative Causal Representation
    # Learning" (2022); "age" too.
    "smile": Graph(
        (
            "Smiling",
            "Male",
            "High_Cheekbones",
            "Mouth_Slightly_Open",
            "Narrow_Eyes",
            "Chubby",
        ),
        {
            "High_Cheekbones": ("Smiling",),
            "Mouth_Slightly_Open": ("Smiling",),
            "Narrow_Eyes": ("Smiling", "Male"),
            "Chubby": ("Smiling",),
        },
    ),
    "age": Graph(_AGE_FACTORS, _AGE),
    # Ours, named after the second task of CauF-VAE, whose published graph is illegible: all factors
    # of "age" cause Attractive.
    "attractive": Graph((*_AGE_FACTORS, "Attractive"), _AGE | {"Attractive": _AGE_FACTORS}),
}


@dataclasses.dataclass(eq=False, kw_only=True)
class Variant(tfds.core.BuilderConfig):
    """A tfds configuration: which attributes are the factors, and how they cause one another."""

    graph: Graph


class CelebA(ImageBuilder):
    """Faces at 64 x 64: the middle 148 x 148 pixels of the originals, resized with antialiasing.

    celeb_a/64 has all attributes as factors; the other variants are selections of factors and use
    its record files. A factor and its value are 1 if the attribute is present, else 0. Splits are
    the official ones. An image's number is its position in list_attr_celeba.txt.
    """

    name = "celeb_a"
    DONE = "converted"
    BUILDER_CONFIGS: ClassVar = [
        Variant(name="64", graph=Graph(ATTRIBUTES, {})),
        *(Variant(name=name, graph=graph) for name, graph in GRAPHS.items()),
    ]

    @classmethod
    def facts(cls, config: Variant) -> Info:
        factors, graph = config.graph.factors, config.graph.adjacency
        # Standardised attributes are then -1 and 1, however rare they are.
        half = None if graph is None else (0.5,) * len(factors)
        return Info(
            name=f"{cls.name}/{config.name}",
            factor_names=factors,
            factor_sizes=(2,) * len(factors),
            circular=(False,) * len(factors),
            image_shape=(SIDE, SIDE, 3),
            licence="non-commercial research only; see the terms on the data set's page",
            citation=(
                "Liu, Luo, Wang and Tang, Deep Learning Face Attributes in the Wild, ICCV 2015"
            ),
            description=(
                "Aligned photographs of celebrities' faces with binary attributes. Not every "
                "combination of attributes occurs, and some occur many times."
            ),
            count=COUNT,
            graph=graph,
            value_mean=half,
            value_std=half,
            repeats=True,
        )

    @classmethod
    def stored(cls, config: Variant) -> Variant:
        del config
        return cls.BUILDER_CONFIGS[0]

    def fetch(self, downloads: Path, manual_dir: Path | None) -> None:
        folder = downloads / "manual" if manual_dir is None else manual_dir
        unpacked = (folder / _FOLDER).is_dir()
        wanted = [LABELS, PARTITION] + ([] if unpacked else [IMAGES])
        if missing := [file for file in wanted if not (folder / file.name).is_file()]:
            listed = ", ".join(
                f"{file.about}, {_PLACES[file.name]}"
                + f", or the folder {_FOLDER} unpacked from it" * (file is IMAGES)
                for file in missing
            )
            raise UserError(
                f"You must download {self.name} yourself, because its servers require a log-in or "
                "have exceeded their quota. From the Google Drive or Baidu folders linked at "
                f"{_PAGE}, download: {listed}. Put the files into {folder}, or into any FOLDER and "
                f"run cdis data prepare {self.name}/64 --manual_dir FOLDER."
            )
        for file in wanted:
            if fault := file.fault(folder / file.name):
                raise UserError(
                    f"{folder / file.name} is not the published file of {self.name}: {fault}. "
                    f"Delete it and download it again, {_PLACES[file.name]} of the folders linked "
                    f"at {_PAGE}."
                )
        files, self._attributes = read_attributes(folder / LABELS.name)
        self._split = read_partition(folder / PARTITION.name, files)
        self._files, self._image = files, open_images(folder, files)

    def split(self) -> UInt8[np.ndarray, " n"]:
        return self._split

    def chunks(self, index: np.ndarray) -> Iterator[Chunk]:
        for start in range(0, len(index), 1024):
            rows = index[start : start + 1024]
            images = np.stack([self._image(self._files[i]) for i in rows])
            factors = self._attributes[rows].astype(np.int32)
            yield Chunk(rows, images, factors, factors.astype(np.float32))


def read_attributes(path: Path) -> tuple[list[str], Int8[np.ndarray, "n 40"]]:
    """File names and attributes (0 or 1) of list_attr_celeba.txt.

    The file has a line with the number of images, a line with the names of the attributes, then for
    each image a line with its file name and -1 or 1 for each attribute. Raises `UserError` for
    anything else.
    """
    lines = _lines(path)
    names = tuple(lines[1].split()) if len(lines) > 1 else ()
    if names != ATTRIBUTES:
        raise _damaged(path, f"its second line does not name the {len(ATTRIBUTES)} attributes")
    files, cells = _table(path, lines[2:], len(ATTRIBUTES))
    if lines[0].split() != [str(len(files))] or len(files) != COUNT:
        counts = f"its first line says {lines[0].strip()!r} and it has {len(files)} images"
        raise _damaged(path, f"{counts}; both should be {COUNT}")
    if not np.isin(cells, (-1, 1)).all():
        raise _damaged(path, "an attribute is neither -1 nor 1")
    return files, (cells > 0).astype(np.int8)


def read_partition(path: Path, files: list[str]) -> UInt8[np.ndarray, " n"]:
    """The split of each of `files` in list_eval_partition.txt, as its position in `SPLITS`.

    The file has a line for each image: its file name and 0 for training, 1 for validation or 2 for
    testing. Raises `UserError` for anything else.
    """
    names, cells = _table(path, _lines(path), 1)
    if names != files:
        raise _damaged(path, f"it does not list the images of {LABELS.name} in the same order")
    if not np.isin(cells, range(len(SPLITS))).all():
        raise _damaged(path, "the split of an image is not 0, 1 or 2")
    return cells[:, 0].astype(np.uint8)


def open_images(
    folder: Path, files: list[str]
) -> Callable[[str], UInt8[np.ndarray, "side side 3"]]:
    """A function from file names to images, cropped and resized, in the archive or its folder.

    Raises `UserError` if a file is missing; the function does for an image that is damaged or is
    not an aligned original.
    """
    place = folder / _FOLDER
    if place.is_dir():
        present = {path.name for path in place.iterdir()}

        def content(file: str) -> bytes:
            return (place / file).read_bytes()
    else:
        place = folder / IMAGES.name
        try:
            archive = zipfile.ZipFile(place)
        except (OSError, zipfile.BadZipFile) as error:
            raise _damaged(place, str(error)) from error
        present = {name.removeprefix(f"{_FOLDER}/") for name in archive.namelist()}

        def content(file: str) -> bytes:
            return archive.read(f"{_FOLDER}/{file}")

    if missing := [file for file in files if file not in present]:
        raise _damaged(place, f"{len(missing):,} images are missing, {missing[0]} first")

    def read(file: str) -> UInt8[np.ndarray, "side side 3"]:
        try:
            with Image.open(io.BytesIO(content(file))) as image:
                if image.size != _ORIGINAL or image.mode != "RGB":
                    raise ValueError(f"it is {image.mode} {image.size}, not RGB {_ORIGINAL}")
                return shrink(image)
        except (OSError, ValueError, SyntaxError, zlib.error, zipfile.BadZipFile) as error:
            raise _damaged(place, f"{file}: {error}") from error

    return read


def shrink(image: Image.Image) -> UInt8[np.ndarray, "side side 3"]:
    """The face in an original, 64 x 64."""
    # Cropped first, so that the filter sees nothing from outside the crop.
    face = image.crop(_CROP).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(face)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error


def _table(path: Path, lines: list[str], width: int) -> tuple[list[str], Int8[np.ndarray, "n w"]]:
    """The first word of each line, and the `width` integers after it."""
    rows = [line.split(maxsplit=1) for line in lines]
    if not rows or min(map(len, rows)) < 2:
        raise _damaged(path, "a line lacks a file name or numbers")
    try:
        cells = np.loadtxt([row[1] for row in rows], np.int8, ndmin=2)
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    if cells.shape[1] != width:
        raise _damaged(path, f"lines have {cells.shape[1]} numbers, not {width}")
    return [row[0] for row in rows], cells


def _damaged(path: Path, why: str) -> UserError:
    return UserError(
        f"{path} is damaged or not a file of {CelebA.name}: {why}. Delete it, download it again "
        f"from the folders linked at {_PAGE}, and run: cdis data prepare {CelebA.name}/64"
    )
