"""The common tfds builder of all data sets: numbered images with factors, in record files."""

import abc
import dataclasses
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
_SHARD_BYTES = 2**28  # of decoded images per record file; tfds holds one file's records in memory


_Examples = Callable[[], Iterator[tuple[int, dict[str, Any]]]]


class Chunk(NamedTuple):
    """Some images: their numbers within the data set, pixels, factor indices, physical values."""

    index: Int64[np.ndarray, " b"]
    images: UInt8[np.ndarray, "b h w c"]
    factors: Int32[np.ndarray, "b f"]
    values: Float32[np.ndarray, "b f"]


def split_of(count: int, seed: int) -> UInt8[np.ndarray, " n"]:
    """The split of each of `count` images, as its position in `SPLITS`; 70/15/15.

    Ordered by raw Philox output, which NumPy promises never to change, so that splits are
    permanent.
    """
    order = np.argsort(np.random.Philox(key=seed).random_raw(count), kind="stable")
    ends = np.cumsum([round(share * count) for share in _SHARES])
    split = np.empty(count, np.uint8)
    split[order] = np.searchsorted(ends, np.arange(count), side="right")
    return split


class ImageBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """A tfds builder of numbered images, split by a fixed seed unless `split` is overridden.

    Records are written in the order of the images. tfds would shuffle them by default, which needs
    TensorFlow beyond a gigabyte; batches are sampled at random anyway.

    Data sets derive from `GeneratedBuilder` or `DownloadedBuilder`, list their variants in
    `BUILDER_CONFIGS` and define `facts`. Features of a record: image; factors, an int32 index per
    factor; values, the float32 physical value of each; index, the image's number in the data set.

    Raise `VERSION` when images or labels change: prepared data sets are kept per version.
    """

    VERSION = tfds.core.Version("1.0.0")
    SPLIT_SEED: ClassVar[int] = 0
    #: Whether the user's files may be fewer than `Info.count`; `split` then gives their number.
    PARTIAL: ClassVar[bool] = False
    DONE: ClassVar[str]  # what preparation does to images, for progress messages: "rendered"
    # Where tfds looks for checksums of its own downloads. There are none; and to find the place
    # tfds would import importlib_resources, which it does not always install.
    code_path = None

    def __init_subclass__(cls, **options: Any) -> None:
        # tfds keeps one global registry of names. cdis finds builders by module instead, so that
        # data sets outside it may share a name with another, and be imported twice.
        super().__init_subclass__(skip_registration=True, **options)

    @classmethod
    @abc.abstractmethod
    def facts(cls, config: Any) -> Info:
        """Facts about a variant; needs no builder instance and no data directory."""

    @classmethod
    def name_of(cls, config: Any) -> str:
        """The name in `facts`; to be overridden where facts take long to compute."""
        return cls.facts(config).name

    @classmethod
    def listed(cls, config: Any) -> bool:
        """Whether lists of data sets show a variant; it is found by its name in any case."""
        del config
        return True

    @classmethod
    def info_of(cls, config: Any) -> Info:
        """`facts`, named as `cdis.data.load` takes it: MODULE:NAME outside cdis."""
        facts = cls.facts(config)
        if cls.__module__.startswith("cdis.data."):
            return facts
        return dataclasses.replace(facts, name=f"{cls.__module__}:{facts.name}")

    @classmethod
    def mechanism(cls, config: Any) -> Mechanism | None:
        """The causal mechanism, for a data set whose factors cause one another."""
        del config
        return None

    @classmethod
    def stored(cls, config: Any) -> Any:
        """The variant whose record files hold this one's images, with at least its factors."""
        return config

    @abc.abstractmethod
    def fetch(self, downloads: Path, manual_dir: Path | None) -> None:
        """Get the files that images are read from; called before `split` and `chunks`.

        Args:
          downloads: where downloaded files are kept.
          manual_dir: a folder of files that the user downloaded, or the file if one is enough.

        Raises:
          UserError: a file cannot be downloaded, or has the wrong content.
          OSError: `downloads` is not writable.
        """

    @abc.abstractmethod
    def chunks(self, index: Int64[np.ndarray, " n"]) -> Iterator[Chunk]:
        """The images numbered `index`, which is sorted, each once."""

    def split(self) -> UInt8[np.ndarray, " n"]:
        """The split of each image, as its position in `SPLITS`."""
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
        info = self.info_of(self.builder_config)
        split = self.split()
        progress = Progress(info.name, len(split), self.DONE)
        most = max(1, _SHARD_BYTES // math.prod(info.image_shape))
        shards = {}
        for number, name in enumerate(SPLITS):
            index = np.flatnonzero(split == number)
            # One pass over a split's images: each file continues where the previous one ended.
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
