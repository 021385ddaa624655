"""Images in record files, decoded when they are indexed."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from cdis.data import png
from cdis.errors import UserError


class Records:
    """Indexed like an array of images, uint8 [n, H, W, C], but read and decoded at every access.

    Only the position of each image is kept in memory, and open files are not pickled. Indexing
    raises `UserError` if the files are damaged.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self,
        name: str,
        open_split: Callable[[int], Callable[[list[int]], list[bytes]]],
        split: UInt8[np.ndarray, " n"],
        place: Int64[np.ndarray, " n"],
        image_shape: tuple[int, int, int],
    ) -> None:
        """Images of the data set `name`: image i is element `place[i]` of split `split[i]`.

        `open_split` can be pickled. It takes the number of a split and returns a function that
        reads the PNGs at given positions.
        """
        self._name = name
        self._open_split, self._split, self._place = open_split, split, place
        self.shape = (len(split), *image_shape)
        self.ndim = len(self.shape)
        self._readers: dict[int, Callable[[list[int]], list[bytes]]] = {}

    def __len__(self) -> int:
        return len(self._split)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_readers": {}}

    def __getitem__(self, index: Any) -> UInt8[np.ndarray, "..."]:
        """The images at an integer, a slice, or an array of integers."""
        rows = np.arange(len(self))[index]
        flat = rows.ravel()
        images = np.empty((len(flat), *self.shape[1:]), np.uint8)
        for number in np.unique(self._split[flat]):
            wanted = np.flatnonzero(self._split[flat] == number)
            for i, content in zip(wanted, self._read(int(number), flat[wanted]), strict=True):
                images[i] = content
        return images.reshape(*rows.shape, *self.shape[1:])

    def _read(self, number: int, rows: np.ndarray) -> list[np.ndarray]:
        # For damaged files, Riegeli, protobuf and Pillow each raise errors of their own.
        try:
            if number not in self._readers:
                self._readers[number] = self._open_split(number)
            contents = self._readers[number](self._place[rows].tolist())
            return [png.decode(content, self.shape[1:]) for content in contents]
        except Exception as error:
            raise UserError(
                f"The record files of {self._name} are incomplete or damaged ({error}). Delete "
                f"their folder and run: cdis data prepare {self._name}"
            ) from error
