"""Bars of three grey levels on black, rendered from their factors."""

from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from cdis.data.generated import GeneratedBuilder
from cdis.data.info import Info

SIZES = (8, 8, 3)  # how many positions, heights and grey levels


class Bars(GeneratedBuilder):
    BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name="small")]

    @classmethod
    def facts(cls, config):
        return Info(
            name=f"bars/{config.name}",
            factor_names=("position", "height", "grey"),
            factor_sizes=SIZES,
            circular=(True, False, False),
            image_shape=(8, 8, 1),
            licence="CC0-1.0",
            citation="",
            description="A bar on black; every combination of the factors once.",
        )

    @classmethod
    def examples(cls, config, index):
        factors = np.stack(np.unravel_index(index, SIZES), axis=1).astype(np.int32)
        images = np.zeros((len(index), 8, 8, 1), np.uint8)
        for image, (position, height, grey) in zip(images, factors, strict=True):
            image[: height + 1, position] = 85 * (grey + 1)
        return images, factors, factors.astype(np.float32)
