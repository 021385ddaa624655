"""Prepared data on disk: tfds record files, and a decoded, memory-mapped copy of them.

Record files and the decoded copy are both written atomically: under a temporary name, then renamed.
A lock keeps two processes from writing at once. The next preparation removes what a killed one left
behind.

Images are read in one of two ways (`FEEDS`), which give the same bytes: "decoded", from that copy;
or "records", from the record files, decoding images when they are needed, with a copy of the labels
alone. "auto" means "decoded" if the copy exists or would fit.
"""

import contextlib
import dataclasses
import errno
import functools
import io
import json
import logging
import math
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from cdis.data.builder import SPLITS, ImageBuilder
from cdis.data.info import Dataset
from cdis.data.progress import Progress
from cdis.data.records import Records
from cdis.errors import UserError
from cdis.files import locked

#: Where images are read from; see above.
FEEDS = ("auto", "decoded", "records")
# For every image: factors, values, its split, and its position in the records of that split.
_Labels = dict[str, np.ndarray]
_DECODED, _LABELS = "decoded", "labels"
_FILES = {
    _DECODED: ("factors", "values", "split"),
    _LABELS: ("factors", "values", "split", "place"),
}
_ENCODED = {"image": tfds.decode.SkipDecoding()}
# A decoded copy fits if it leaves this many bytes of the disk free.
_SPARE = 2**30
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
    ) -> None:
        self.info = builder_class.info_of(config)
        self._builder_class = builder_class
        self._config = config
        self._data_dir, self._manual_dir = data_dir, manual_dir
        self._home = data_dir / builder_class.name / config.name
        self._path = self._home / str(builder_class.VERSION)

    def prepare(self) -> None:
        """Render or download the data set and decode it, unless that has been done."""
        try:
            self._ready("auto")
        except OSError as error:
            raise self._unwritable(error) from error

    def load(self, feed: str = "auto") -> Dataset:
        """The data set, prepared if need be; decoded into memory if the directory is read-only."""
        try:
            return self._ready(feed)
        except OSError as error:
            if not (self._path.exists() and error.errno in _READ_ONLY):
                raise self._unwritable(error) from error
        logging.getLogger(__name__).warning(
            "%s is not writable, so %s is decoded at every start.", self._path, self.info.name
        )
        if feed == "records" or (feed == "auto" and self._bytes > _memory()):
            return self._from_records(self._decode(None), "its folder is not writable")
        images = np.empty((self._count, *self.info.image_shape), np.uint8)
        return self._dataset(images, self._decode(images.__setitem__), "decoded into memory")

    def prepared(self) -> Dataset | None:
        """The data set if it is already prepared, else None."""
        return self._read("auto", self._why_records("auto"))

    def _ready(self, feed: str) -> Dataset:
        why = self._why_records(feed)
        dataset = self._read(feed, why)
        if dataset is None:
            with locked(self._home / ".lock"):
                if not self._path.exists():
                    self._generate()
                    why = self._why_records(feed)
                if self._read(feed, why) is None:
                    self._write_copy(_LABELS if why else _DECODED)
            dataset = self._read(feed, why)
        if dataset is None:
            raise self._broken("the decoded copy cannot be read back")
        return dataset

    def _read(self, feed: str, why: str) -> Dataset | None:
        """The data set if the copy for `feed` exists; `why` is the result of `_why_records`."""
        if self._builder_class.PARTIAL and self._path.exists():
            with _quiet():
                splits = self._builder().info.splits.values()
            count = sum(split.num_examples for split in splits)
            self.info = dataclasses.replace(self.info, count=count)
        if feed != "records" and (copy := self._read_copy(_DECODED)) is not None:
            images, labels = copy
            assert images is not None
            return self._dataset(images, labels, f"decoded, mapped from {self._path / _DECODED}")
        copy = self._read_copy(_LABELS) if why else None
        return None if copy is None else self._from_records(copy[1], why)

    def _why_records(self, feed: str) -> str:
        """Why images are read from record files; "" if they are not."""
        if feed != "auto":
            return "as requested" if feed == "records" else ""
        copy = f"a decoded copy would take {_gb(self._bytes)},"
        if self._bytes > _memory():
            return f"{copy} but the machine has {_gb(_memory())} of memory"
        free = shutil.disk_usage(self._data_dir).free if self._data_dir.exists() else math.inf
        if self._bytes > free - _SPARE:
            return f"{copy} but {self._data_dir} has {_gb(free)} free"
        return ""

    # Preparation

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
            # ArrayRecord reports a failed write like this; the error names the file.
            if f"writing {self._home}" in str(error):
                raise OSError(str(error)) from error
            raise

    def _builder(self) -> Any:  # the annotations of tfds are too loose to check
        return self._builder_class(data_dir=self._data_dir, config=self._config)

    @property
    def _count(self) -> int:
        return self.info.num_images

    @property
    def _bytes(self) -> int:
        """Size of all decoded images."""
        return self._count * math.prod(self.info.image_shape)

    def _from_records(self, labels: _Labels, why: str) -> Dataset:
        # By name if it has one: tfds takes an unpickled copy for another configuration.
        known = any(self._config is config for config in self._builder_class.BUILDER_CONFIGS)
        config = self._config.name if known else self._config
        source = functools.partial(_open_split, self._builder_class, config, self._data_dir)
        images: Any = Records(
            self.info.name, source, labels["split"], labels["place"], self.info.image_shape
        )
        return self._dataset(images, labels, f"decoded from the records when needed ({why})")

    def _dataset(self, images: np.ndarray, labels: _Labels, feeding: str) -> Dataset:
        splits = {name: np.flatnonzero(labels["split"] == n) for n, name in enumerate(SPLITS)}
        return Dataset(self.info, images, labels["factors"], splits, labels["values"], feeding)

    # The decoded copy, and the copy of the labels

    def _records(self) -> dict[str, int]:
        return {path.name: path.stat().st_size for path in self._path.glob("*.array_record-*")}

    def _read_copy(self, kind: str) -> tuple[np.ndarray | None, _Labels] | None:
        """Images and labels, or None if there is no copy of the present record files."""
        folder = self._path / kind
        try:
            about = json.loads((folder / "about.json").read_text())
            if about["records"] != self._records():
                return None
            labels = {name: np.load(folder / f"{name}.npy") for name in _FILES[kind]}
            images, complete = None, len(labels["split"]) == self._count
            if kind == _DECODED:
                # As a plain array: indexing a np.memmap would make np.memmaps.
                images = np.asarray(np.load(folder / "images.npy", mmap_mode="r"))
                complete = images.shape == (self._count, *self.info.image_shape)
            if complete and about["checksum"] == _checksum(images, labels):
                return images, labels
        except (OSError, ValueError, KeyError, TypeError, EOFError):
            pass
        return None

    def _write_copy(self, kind: str) -> None:
        folder, draft = self._path / kind, self._path / f"{kind}.incomplete"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        try:
            images = None
            if kind == _DECODED:
                labels = self._write_images(draft / "images.npy")
                images = np.load(draft / "images.npy", mmap_mode="r")
            else:
                labels = self._decode(None)
            labels = {name: labels[name] for name in _FILES[kind]}
            for name, column in labels.items():
                np.save(draft / f"{name}.npy", column)
            about = {"records": self._records(), "checksum": _checksum(images, labels)}
            (draft / "about.json").write_text(json.dumps(about))
            if folder.exists():
                shutil.rmtree(folder)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _write_images(self, path: Path) -> _Labels:
        with open(path, "wb") as file:
            shape = (self._count, *self.info.image_shape)
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            start = file.tell()

            # Written, not memory-mapped: a full disk then raises an error instead of a crash.
            def write(index: int, image: np.ndarray) -> None:
                file.seek(start + index * image.nbytes)
                file.write(image.tobytes())

            labels = self._decode(write)
            file.flush()
            os.fsync(file.fileno())
        return labels

    def _decode(self, keep: Callable[[int, np.ndarray], object] | None) -> _Labels:
        """Read every record, calling keep(index, image); without `keep`, only the labels."""
        factors = np.full((self._count, self.info.num_factors), -1, np.int32)
        values = np.full(factors.shape, np.nan, np.float32)
        split = np.full(self._count, len(SPLITS), np.uint8)
        place = np.zeros(self._count, np.int64)
        progress = Progress(self.info.name, self._count, "decoded" if keep else "read")
        for number, name in enumerate(SPLITS):
            for at, example in enumerate(self._examples(name, images=keep is not None)):
                index, image, row = int(example["index"]), example["image"], example["factors"]
                if not (0 <= index < self._count and split[index] == len(SPLITS)):
                    raise self._broken(f"image {index} occurs twice or has an impossible number")
                if row.shape != factors[index].shape:
                    raise self._broken(f"image {index} has another number of factors")
                if keep is not None:
                    if image.shape != self.info.image_shape:
                        raise self._broken(f"image {index} has another shape")
                    keep(index, image)
                factors[index], values[index] = row, example["values"]
                split[index], place[index] = number, at
                progress.advance(1)
        missing = int((split == len(SPLITS)).sum())
        if missing:
            raise self._broken(f"{missing:,} of {self._count:,} images are missing")
        return {"factors": factors, "values": values, "split": split, "place": place}

    def _examples(self, split: str, *, images: bool) -> Iterator[dict[str, Any]]:
        # For damaged files, Riegeli, protobuf, Pillow and JSON each raise errors of their own.
        try:
            with _quiet():
                source = self._builder().as_data_source(
                    split, decoders=None if images else _ENCODED
                )
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
            f"{_one_line(error.strerror or str(error))}. No partial files remain in use. Free disk "
            "space or make the folder writable, or choose another with --data_dir or the "
            "environment variable CDIS_DATA_DIR."
        )


def _checksum(images: np.ndarray | None, labels: _Labels) -> int:
    """Of all labels and about a thousand evenly spaced images: fast even for large data sets."""
    total = 0
    for column in labels.values():
        total = zlib.crc32(column.tobytes(), total)
    if images is None:
        return total
    return zlib.crc32(images[:: len(images) // _SAMPLED + 1].tobytes(), total)


def _open_split(
    builder_class: type[ImageBuilder], config: Any, data_dir: Path, number: int
) -> Callable[[list[int]], list[bytes]]:
    """A function that reads the PNGs at given positions in the records of a split."""
    builder: Any = builder_class(data_dir=data_dir, config=config)
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    source = builder.as_data_source(SPLITS[number], deserialize_method=raw)

    # A record is a tf.train.Example. Reading only its image is much faster than letting tfds turn
    # all its features into arrays, which takes a quarter as long as decoding the image. (The class
    # is created when its module is imported, where a type checker cannot see it.)
    def png(record: bytes) -> bytes:
        example: Any = tf_example_pb2.Example.FromString(record)  # type: ignore[attr-defined]
        return example.features.feature["image"].bytes_list.value[0]

    return lambda places: [png(record) for record in source.__getitems__(places)]


def _memory() -> int:
    """Memory of this machine in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gb(size: float) -> str:
    return f"{size / 1e9:.3g} GB"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300].rstrip(".")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress banners, progress bars and advice about TensorFlow and OpenCV that tfds prints.

    Redirects the output of the whole process, so it must not be used by several threads at once.
    """
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
