"""What reads factors from images: the referee of a causal mechanism, or a trained predictor."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from cdis.chunks import in_chunks
from cdis.data import Mechanism
from cdis.data.info import Dataset, Info
from cdis.measure.sampling import MAX_IMAGES, sample
from cdis.metrics.factor_predictor import FactorPredictor, factor_scores, labels
from cdis.trained import BATCH

#: images [n, H, W, C], uint8 or floats in [-1, 1] -> physical values of all factors [n, F]
ReadValues = Callable[[np.ndarray], np.ndarray]


def by_referee(mechanism: Mechanism, images: np.ndarray) -> Float[np.ndarray, "n f"]:
    """Physical values of all factors that the mechanism's referee reads from images."""
    return in_chunks(lambda rows: mechanism.referee(images[rows]), len(images), size=BATCH)


def referee(mechanism: Mechanism, dataset: Dataset) -> FactorPredictor:
    """The referee as a predictor of continuous factors, with its R^2 on test images."""
    index = sample(dataset.splits["test"], MAX_IMAGES)
    read = by_referee(mechanism, dataset.images[index])
    scores = factor_scores(read, dataset.values[index], dataset.info.factor_sizes)
    return FactorPredictor(lambda images: by_referee(mechanism, images), scores)


def known_labels(dataset: Dataset, index: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n f"]:
    """What a predictor should read from images; NaN where a label is missing."""
    return labels(dataset.factors[index], dataset.values[index], dataset.info.factor_sizes)


def values_by(predictor: FactorPredictor, dataset: Dataset) -> ReadValues:
    """The predictor's reading as physical values: those that belong to the indices it predicts."""
    tables: dict[int, np.ndarray] = {}
    for factor in np.flatnonzero(np.array(dataset.info.factor_sizes)).tolist():
        index, first = np.unique(dataset.factors[:, factor], return_index=True)
        first, index = first[index >= 0], index[index >= 0]
        every = np.arange(dataset.info.factor_sizes[factor])
        # An index without an image gets a value between those of its neighbours.
        tables[factor] = np.interp(every, index, dataset.values[first, factor])

    def read(images: np.ndarray) -> np.ndarray:
        found = predictor.predict(images).astype(np.float32)
        for factor, table in tables.items():
            found[:, factor] = table[found[:, factor].astype(int)]
        return found

    return read


def categorical(info: Info) -> Bool[np.ndarray, " f"]:
    """Which factors' values are mere names: those without an order, and those with two values."""
    return np.array(
        [
            size == 2 or name in info.unordered
            for name, size in zip(info.factor_names, info.factor_sizes, strict=True)
        ]
    )
