"""Data sets that are drawn, not downloaded: the tfds builder they have in common."""

import abc
import io
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from cdis.data.causal import Mechanism
from cdis.data.info import Info
from cdis.data.progress import Progress

SPLITS = ("train", "validation", "test")
_SHARES = (0.70, 0.15)
_CHUNK = 4096


def split_of(count: int, seed: int) -> np.ndarray:
    """The split of each of `count` images, as its place in `SPLITS`: uint8 [n], 70/15/15.

    Ordered by raw Philox output, which NumPy promises never to change: a split is for ever.
    """
    order = np.argsort(np.random.Philox(key=seed).random_raw(count), kind="stable")
    ends = np.cumsum([round(share * count) for share in _SHARES])
    split = np.empty(count, np.uint8)
    split[order] = np.searchsorted(ends, np.arange(count), side="right")
    return split


def encode_png(image: np.ndarray) -> bytes:
    """A uint8 image [H, W, 1 or 3] as PNG; lightly compressed, since drawn images are flat."""
    with io.BytesIO() as buffer:
        pixels = image[..., 0] if image.shape[-1] == 1 else image
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()


class GeneratedBuilder(tfds.core.GeneratorBasedBuilder):
    """A tfds builder whose examples are functions of their index.

    A data set derives from it, names its variants in `BUILDER_CONFIGS` and defines `facts` and
    `examples`. Features: image; factors, an int32 index per factor; values, the float32 physical
    value of each; index, the image's own number, by which it is found again.
    """

    VERSION = tfds.core.Version("1.0.0")
    SPLIT_SEED: ClassVar[int] = 0
    # Where tfds looks for checksums of downloads. There are none, and to find the place it would
    # import importlib_resources, which it does not always install.
    code_path = None

    @classmethod
    @abc.abstractmethod
    def facts(cls, config: Any) -> Info:
        """What the variant is; known without a builder, and so without a data directory."""

    @classmethod
    @abc.abstractmethod
    def examples(cls, config: Any, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images uint8 [b, H, W, C], factors int32 [b, F] and values float32 [b, F] by index."""

    @classmethod
    def mechanism(cls, config: Any) -> Mechanism | None:
        """How the images come about, for a data set whose factors cause one another."""
        del config
        return None

    def _info(self) -> tfds.core.DatasetInfo:
        facts = self.facts(self.builder_config)
        row = (facts.num_factors,)
        features = {
            "image": tfds.features.Image(shape=facts.image_shape, encoding_format="png"),
            "factors": tfds.features.Tensor(shape=row, dtype=np.int32),
            "values": tfds.features.Tensor(shape=row, dtype=np.float32),
            "index": tfds.features.Scalar(dtype=np.int64),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=facts.description,
            features=tfds.features.FeaturesDict(features),
            citation=facts.citation,
            license=facts.licence,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        del dl_manager  # Nothing is downloaded.
        facts = self.facts(self.builder_config)
        count = facts.num_images
        split = split_of(count, self.SPLIT_SEED)
        progress = Progress(facts.name, count, "drawn")
        return {
            name: self._generate_examples(np.flatnonzero(split == number), progress)
            for number, name in enumerate(SPLITS)
        }

    def _generate_examples(
        self, index: np.ndarray, progress: Progress
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for start in range(0, len(index), _CHUNK):
            chunk = index[start : start + _CHUNK]
            drawn = self.examples(self.builder_config, chunk)
            for number, image, factors, values in zip(chunk, *drawn, strict=True):
                yield (
                    int(number),
                    {
                        "image": encode_png(image),
                        "factors": factors,
                        "values": values,
                        "index": number,
                    },
                )
            progress.advance(len(chunk))
