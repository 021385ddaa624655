"""A data set with some of the factors of another, read from the same files."""

import dataclasses

import numpy as np

from cdis.data.info import Dataset, Info
from cdis.data.store import Store


class Selection:
    """The images of `whole` with the factors of `info`, in that order."""

    def __init__(self, whole: Store, info: Info) -> None:
        self.info, self._whole = info, whole
        names = whole.info.factor_names
        self._columns = np.array([names.index(name) for name in info.factor_names])

    def prepare(self) -> None:
        """Prepare `whole`; see `Store.prepare`."""
        self._whole.prepare()

    def prepared(self) -> Dataset | None:
        """The data set if it is already prepared, else None."""
        whole = self._whole.prepared()
        return None if whole is None else self._of(whole)

    def load(self, feed: str = "auto") -> Dataset:
        """The data set; see `Store.load`."""
        return self._of(self._whole.load(feed))

    def _of(self, whole: Dataset) -> Dataset:
        return dataclasses.replace(
            whole,
            info=self.info,
            factors=np.ascontiguousarray(whole.factors[:, self._columns]),
            values=np.ascontiguousarray(whole.values[:, self._columns]),
        )
