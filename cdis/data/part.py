"""A grid within a grid: the images of a data set that have only some values of each factor."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int64

from cdis.data.builder import Chunk
from cdis.data.info import Info

#: Names of factors, and the indices of the values to keep, ascending; others keep all values.
Kept = Mapping[str, Sequence[int]]


class Part:
    """The images of `whole`, in which each combination occurs once, that have only values `kept`.

    A factor with a single kept value is no factor of the part. A circular factor stays circular if
    three or more values are kept, evenly spaced around the circle.
    """

    def __init__(self, whole: Info, kept: Kept) -> None:
        self._whole, self._kept = whole, kept
        self._values = [
            np.array(kept.get(name, range(size)))
            for name, size in zip(whole.factor_names, whole.factor_sizes, strict=True)
        ]
        self._columns = [i for i, values in enumerate(self._values) if len(values) > 1]

    @functools.cached_property
    def places(self) -> Int64[np.ndarray, " n"]:
        """The number in `whole` of each image of the part, ascending.

        Holds if the images of `whole` are in the order of their factors, the last varying fastest.
        """
        return np.ravel_multi_index(np.ix_(*self._values), self._whole.factor_sizes).ravel()

    def info(self, name: str) -> Info:
        """Facts about the part, under this name."""
        whole = self._whole
        names = tuple(whole.factor_names[i] for i in self._columns)
        kept = "; ".join(
            f"{factor} {', '.join(map(str, values))}" for factor, values in self._kept.items()
        )
        return dataclasses.replace(
            whole,
            name=name,
            factor_names=names,
            factor_sizes=tuple(len(self._values[i]) for i in self._columns),
            circular=tuple(
                whole.circular[i] and _even(self._values[i], whole.factor_sizes[i])
                for i in self._columns
            ),
            unordered=tuple(factor for factor in whole.unordered if factor in names),
            description=f"{whole.description} Of these, the images with: {kept}.",
        )

    def narrow(self, chunk: Chunk) -> Chunk:
        """Images of `whole` with their numbers as those of the part.

        Raises ValueError for one that is not in the part.
        """
        factors = []
        for i, values in enumerate(self._values):
            column = chunk.factors[:, i]
            index = np.searchsorted(values, column).clip(max=len(values) - 1)
            if (wrong := column != values[index]).any():
                name, found = self._whole.factor_names[i], column[wrong][0]
                among = ", ".join(map(str, values))
                raise ValueError(f"an image has {name} {found}, where one of {among} should be")
            factors.append(index)
        return Chunk(
            np.searchsorted(self.places, chunk.index),
            chunk.images,
            np.stack([factors[i] for i in self._columns], axis=1).astype(np.int32),
            chunk.values[:, self._columns],
        )


def _even(values: np.ndarray, size: int) -> bool:
    """Whether equal steps, three at least, lead around a circle of `size` through `values`."""
    return len(values) > 2 and len(set(np.diff(values, append=values[0] + size).tolist())) == 1
