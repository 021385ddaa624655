"""What a method's decoder makes of its own representations."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from cdis.data.info import Dataset
from cdis.evaluate.images import (
    MAX_IMAGES,
    SEED,
    Progress,
    as_uint8,
    in_chunks,
    sample,
    squared_error,
)
from cdis.methods.base import Method, Variables
from cdis.metrics import factor_predictor as predictors

_SHOWN_RECONSTRUCTIONS = 12


def reconstruct(method: Method, variables: Variables) -> Callable[[np.ndarray], np.ndarray] | None:
    """Images to plain reconstructions in [-1, 1], or None if the method has none."""
    encode, decode = method.encode, method.decode
    if encode is None or decode is None:
        return None
    both = jax.jit(lambda variables, images: decode(variables, encode(variables, images)))
    return lambda images: in_chunks(lambda i: both(variables, images[i]), np.arange(len(images)))


def measure(
    reconstruct: Callable[[np.ndarray], np.ndarray],
    dataset: Dataset,
    predictor: predictors.FactorPredictor | None,
    arrays: dict[str, np.ndarray],
    progress: Progress,
) -> dict[str, Any]:
    """Error, and factors read right; pictures go to `arrays`."""
    index = sample(dataset.splits["test"], MAX_IMAGES)
    images, factors = dataset.images[index], dataset.factors[index]
    reconstructed = reconstruct(images)
    error = squared_error(reconstructed, images)
    shown = np.sort(np.random.default_rng(SEED).permutation(len(index))[:_SHOWN_RECONSTRUCTIONS])
    arrays["reconstruction_images"] = images[shown]
    arrays["reconstruction_decoded"] = as_uint8(reconstructed[shown])
    result: dict[str, Any] = {"mse": float(error.mean()), "split": "test", "num_images": len(index)}
    line = f"reconstruction: {len(index)} test images, mean squared error {result['mse']:.5f}"
    if predictor is not None:
        names = dataset.info.factor_names
        accuracy = predictors.factor_accuracy(predictor.predict(reconstructed), factors)
        result["factor_accuracy"] = float(accuracy.mean())
        result["factor_accuracy_per_factor"] = dict(zip(names, accuracy.tolist(), strict=True))
        real = predictor.real_accuracy
        result["factor_accuracy_real_images"] = float(real.mean())
        result["factor_accuracy_real_images_per_factor"] = dict(
            zip(names, real.tolist(), strict=True)
        )
        line += f", factors read right {accuracy.mean():.3f} (real images {real.mean():.3f})"
    progress(line)
    return {"reconstruction": result}
