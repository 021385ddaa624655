"""Images with factors as tfds record files: what drawn and downloaded data sets have in common."""

import abc
import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float32, Int32, Int64, UInt8

from cdis.data import png
from cdis.data.info import Info
from cdis.data.mechanism import Mechanism
from cdis.data.progress import Progress

SPLITS = ("train", "validation", "test")
_SHARES = (0.70, 0.15)
_SHARD_BYTES = 2**28  # of decoded images in a record file; tfds keeps one file's records in memory


_Examples = Callable[[], Iterator[tuple[int, dict[str, Any]]]]


class Chunk(NamedTuple):
    """Some images: their numbers within the data set, pixels, factors and physical values."""

    index: Int64[np.ndarray, " b"]
    images: UInt8[np.ndarray, "b h w c"]
    factors: Int32[np.ndarray, "b f"]
    values: Float32[np.ndarray, "b f"]


def split_of(count: int, seed: int) -> np.ndarray:
    """The split of each of `count` images, as its place in `SPLITS`: uint8 [n], 70/15/15.

    Ordered by raw Philox output, which NumPy promises never to change: a split is for ever.
    """
    order = np.argsort(np.random.Philox(key=seed).random_raw(count), kind="stable")
    ends = np.cumsum([round(share * count) for share in _SHARES])
    split = np.empty(count, np.uint8)
    split[order] = np.searchsorted(ends, np.arange(count), side="right")
    return split


class ImageBuilder(tfds.core.ShardBasedBuilder):
    """A tfds builder of numbered images, split by a fixed seed unless `split` says otherwise.

    Records are written in the order of the images. tfds would shuffle them if it were let, and for
    that needs TensorFlow from a gigabyte on; batches are drawn at random anyway.

    A data set derives from `GeneratedBuilder` or `DownloadedBuilder`, names its variants in
    `BUILDER_CONFIGS` and defines `facts`. Features: image; factors, an int32 index per factor;
    values, the float32 physical value of each; index, the image's own number, by which it is found
    again.
    """

    VERSION = tfds.core.Version("1.0.0")
    SPLIT_SEED: ClassVar[int] = 0
    DONE: ClassVar[str]  # to images, in words: what is told while they are prepared
    # Where tfds looks for checksums of its own downloads. There are none, and to find the place it
    # would import importlib_resources, which it does not always install.
    code_path = None

    @classmethod
    @abc.abstractmethod
    def facts(cls, config: Any) -> Info:
        """What the variant is; known without a builder, and so without a data directory."""

    @classmethod
    def mechanism(cls, config: Any) -> Mechanism | None:
        """How the images come about, for a data set whose factors cause one another."""
        del config
        return None

    @classmethod
    def stored(cls, config: Any) -> Any:
        """The variant in whose record files this one's images are, with these and more factors."""
        return config

    @abc.abstractmethod
    def fetch(self, downloads: Path, manual_dir: Path | None) -> None:
        """Gets hold of the files that images are read from, before any of `chunks` is asked for.

        Args:
          downloads: where files are downloaded to.
          manual_dir: a folder in which the user has put them.

        Raises:
          UserError: they cannot be had, or are not what they should be.
          OSError: `downloads` cannot be written to.
        """

    @abc.abstractmethod
    def chunks(self, index: Int64[np.ndarray, " n"]) -> Iterator[Chunk]:
        """The images numbered `index`, which is sorted, each once."""

    def split(self) -> UInt8[np.ndarray, " n"]:
        """The split of each image, as its place in `SPLITS`; asked for after `fetch`."""
        return split_of(self.facts(self.builder_config).num_images, self.SPLIT_SEED)

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

    def _shard_iterators_per_split(self, dl_manager: Any) -> dict[str, list[_Examples]]:
        del dl_manager  # `fetch` has been called.
        facts = self.facts(self.builder_config)
        split = self.split()
        progress = Progress(facts.name, facts.num_images, self.DONE)
        most = max(1, _SHARD_BYTES // math.prod(facts.image_shape))
        shards = {}
        for number, name in enumerate(SPLITS):
            index = np.flatnonzero(split == number)
            # One pass over the images of a split: each file goes on where the last one ended.
            examples = self._examples(index, progress)
            count = -(-len(index) // most)
            sizes = [len(part) for part in np.array_split(index, count)]
            shards[name] = [partial(itertools.islice, examples, size) for size in sizes]
        return shards

    def _examples(
        self, index: np.ndarray, progress: Progress
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for chunk in self.chunks(index):
            for number, image, factors, values in zip(*chunk, strict=True):
                yield (
                    int(number),
                    {
                        "image": png.encode(image),
                        "factors": factors,
                        "values": values,
                        "index": number,
                    },
                )
            progress.advance(len(chunk.index))
