"""Prepared data on disk: tfds record files, and beside them a decoded, memory-mapped copy.

A data set is prepared under a temporary name and renamed when whole, and so is the decoded copy;
a lock keeps two processes from doing either at once. What was killed half-way is swept up by the
next preparation.
"""

import contextlib
import errno
import fcntl
import io
import json
import logging
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from cdis.data.builder import SPLITS, ImageBuilder
from cdis.data.info import Dataset, Info
from cdis.data.progress import Progress
from cdis.errors import UserError

_CACHE = "decoded"
_SAMPLED = 1024
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


class Store:
    """One data set in one data directory."""

    def __init__(
        self,
        builder_class: type[ImageBuilder],
        config: Any,
        data_dir: Path,
        manual_dir: Path | None = None,
    ):
        self.info = builder_class.facts(config)
        self._builder_class = builder_class
        self._config = config
        self._data_dir, self._manual_dir = data_dir, manual_dir
        self._home = data_dir / builder_class.name / config.name
        self._path = self._home / str(builder_class.VERSION)

    def prepare(self) -> None:
        """Draws or downloads the data set and decodes it, unless that has been done."""
        try:
            self._ready()
        except OSError as error:
            raise self._unwritable(error) from error

    def load(self) -> Dataset:
        """The data set, prepared if need be; decoded into memory where nothing may be written."""
        try:
            return self._ready()
        except OSError as error:
            if not (self._path.exists() and error.errno in _READ_ONLY):
                raise self._unwritable(error) from error
        logging.getLogger(__name__).warning(
            "%s cannot be written to, so %s is decoded at every start.", self._path, self.info.name
        )
        images = np.empty((self._count, *self.info.image_shape), np.uint8)
        return _dataset(self.info, images, *self._decode(images.__setitem__))

    def prepared(self) -> Dataset | None:
        """The data set if it is prepared already."""
        return self._read_cache()

    def _ready(self) -> Dataset:
        dataset = self._read_cache()
        if dataset is None:
            with self._locked():
                if not self._path.exists():
                    self._generate()
                if self._read_cache() is None:
                    self._write_cache()
            dataset = self._read_cache()
        if dataset is None:
            raise self._broken("what was decoded cannot be read back")
        return dataset

    # Preparation

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Holds the data set's lock; the system lets go of it when a process dies."""
        self._home.mkdir(parents=True, exist_ok=True)
        with open(self._home / ".lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _generate(self) -> None:
        print(f"Preparing {self.info.name} in {self._data_dir}", file=sys.stderr, flush=True)
        for leftover in self._home.glob(f"incomplete.*_{self._path.name}"):
            shutil.rmtree(leftover)
        with _quiet():
            builder = self._builder()
        builder.fetch(self._data_dir / "downloads", self._manual_dir)
        try:
            with _quiet():
                builder.download_and_prepare(
                    file_format="array_record",
                    download_config=tfds.download.DownloadConfig(try_download_gcs=False),
                )
        except RuntimeError as error:
            # How ArrayRecord reports a write that failed: the error names the file.
            if f"writing {self._home}" in str(error):
                raise OSError(str(error)) from error
            raise

    def _builder(self) -> Any:  # tfds's own annotations are too loose to check against
        return self._builder_class(data_dir=self._data_dir, config=self._config)

    @property
    def _count(self) -> int:
        return self.info.num_images

    # The decoded copy

    def _records(self) -> dict[str, int]:
        return {path.name: path.stat().st_size for path in self._path.glob("*.array_record-*")}

    def _read_cache(self) -> Dataset | None:
        """The decoded copy, or None if none belongs to the record files as they now are."""
        folder = self._path / _CACHE
        try:
            about = json.loads((folder / "about.json").read_text())
            if about["records"] != self._records():
                return None
            # As a plain array: indexing a np.memmap would make np.memmaps.
            images = np.asarray(np.load(folder / "images.npy", mmap_mode="r"))
            factors = np.load(folder / "factors.npy")
            values = np.load(folder / "values.npy")
            split = np.load(folder / "split.npy")
            whole = images.shape == (self._count, *self.info.image_shape)
            if whole and about["checksum"] == _checksum(images, factors, values, split):
                return _dataset(self.info, images, factors, values, split)
        except (OSError, ValueError, KeyError, TypeError, EOFError):
            pass
        return None

    def _write_cache(self) -> None:
        folder, draft = self._path / _CACHE, self._path / f"{_CACHE}.incomplete"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        try:
            with open(draft / "images.npy", "wb") as file:
                shape = (self._count, *self.info.image_shape)
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                start = file.tell()

                # Written, not stored through a map: a full disk is then an error, not a crash.
                def write(index: int, image: np.ndarray) -> None:
                    file.seek(start + index * image.nbytes)
                    file.write(image.tobytes())

                factors, values, split = self._decode(write)
                file.flush()
                os.fsync(file.fileno())
            np.save(draft / "factors.npy", factors)
            np.save(draft / "values.npy", values)
            np.save(draft / "split.npy", split)
            images = np.load(draft / "images.npy", mmap_mode="r")
            checksum = _checksum(images, factors, values, split)
            about = {"records": self._records(), "checksum": checksum}
            (draft / "about.json").write_text(json.dumps(about))
            if folder.exists():
                shutil.rmtree(folder)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _decode(
        self, keep: Callable[[int, np.ndarray], object]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Reads every record: calls keep(index, image), returns (factors, values, split)."""
        factors = np.full((self._count, self.info.num_factors), -1, np.int32)
        values = np.full(factors.shape, np.nan, np.float32)
        split = np.full(self._count, len(SPLITS), np.uint8)
        progress = Progress(self.info.name, self._count, "decoded")
        for number, name in enumerate(SPLITS):
            for example in self._examples(name):
                index, image = int(example["index"]), example["image"]
                row = example["factors"]
                if not (0 <= index < self._count and split[index] == len(SPLITS)):
                    raise self._broken(f"image {index} is there twice or should not be")
                if image.shape != self.info.image_shape or row.shape != factors[index].shape:
                    raise self._broken(f"image {index} has another shape or other factors")
                keep(index, image)
                factors[index], values[index], split[index] = row, example["values"], number
                progress.advance(1)
        missing = int((split == len(SPLITS)).sum())
        if missing:
            raise self._broken(f"{missing:,} of {self._count:,} images are missing")
        return factors, values, split

    def _examples(self, split: str) -> Iterator[dict[str, Any]]:
        # Whatever a reader makes of damaged files (Riegeli, protobuf, Pillow and JSON each have
        # errors of their own), it means the same to the user.
        try:
            with _quiet():
                source = self._builder().as_data_source(split)
            chunks = range(0, len(source), _SAMPLED)
        except Exception as error:
            raise self._broken(str(error)) from error
        for start in chunks:
            try:
                with _quiet():
                    rows = range(start, min(start + _SAMPLED, len(source)))
                    examples = source.__getitems__(list(rows))
            except Exception as error:
                raise self._broken(str(error)) from error
            yield from examples

    # Errors

    def _broken(self, why: str) -> UserError:
        return UserError(
            f"The files of {self.info.name} in {self._path} are incomplete or damaged "
            f"({_one_line(why)}). Delete that folder and run: cdis data prepare {self.info.name}"
        )

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"{self.info.name} could not be prepared in {self._data_dir}: "
            f"{_one_line(error.strerror or str(error))}. Nothing half-made is left in use. "
            "Make room there or make it writable, or choose another folder with --data_dir or the "
            "environment variable CDIS_DATA_DIR."
        )


def _dataset(
    info: Info, images: np.ndarray, factors: np.ndarray, values: np.ndarray, split: np.ndarray
) -> Dataset:
    splits = {name: np.flatnonzero(split == number) for number, name in enumerate(SPLITS)}
    return Dataset(info, images, factors, splits, values)


def _checksum(images: np.ndarray, *labels: np.ndarray) -> int:
    """Of all labels and of some thousand images, evenly spaced: quick even for a large set."""
    total = 0
    for column in labels:
        total = zlib.crc32(column.tobytes(), total)
    return zlib.crc32(images[:: len(images) // _SAMPLED + 1].tobytes(), total)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300].rstrip(".")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps tfds from printing banners, progress bars and advice about TensorFlow and OpenCV."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
        logger.setLevel(level)
