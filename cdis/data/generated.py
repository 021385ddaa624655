"""The common tfds builder of data sets that are rendered, not downloaded."""

import abc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cdis.data.builder import Chunk, ImageBuilder
from cdis.errors import UserError

_CHUNK = 4096


class GeneratedBuilder(ImageBuilder):
    """A tfds builder whose examples are functions of their index.

    Data sets derive from it, list their variants in `BUILDER_CONFIGS` and define `facts` and
    `examples`.
    """

    DONE = "rendered"

    @classmethod
    @abc.abstractmethod
    def examples(cls, config: Any, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images uint8 [b, H, W, C], factors int32 [b, F] and values float32 [b, F] by index."""

    def fetch(self, downloads: Path, manual_dir: Path | None) -> None:
        del downloads  # Nothing is downloaded.
        if manual_dir is not None:
            raise UserError(
                f"{self.info_of(self.builder_config).name} is rendered, not read from files: leave "
                "--manual_dir out."
            )

    def chunks(self, index: np.ndarray) -> Iterator[Chunk]:
        for start in range(0, len(index), _CHUNK):
            rows = index[start : start + _CHUNK]
            yield Chunk(rows, *self.examples(self.builder_config, rows))
