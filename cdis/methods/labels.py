"""Labels of factors as methods learn from them: their scale, and whether they can be meant."""

import numpy as np
from jaxtyping import Bool, Float

from cdis.data.info import Dataset, Info
from cdis.errors import UserError

#: Labels so many standard deviations from the mean are taken for mistakes.
_FARTHEST = 10.0


def scale(
    info: Info,
) -> tuple[Float[np.ndarray, " f"], Float[np.ndarray, " f"], Bool[np.ndarray, " f"]]:
    """Mean and standard deviation to standardise labels with, and which factors are binary.

    A binary label becomes -1 or 1; its latent is a logit. Raises `UserError` without labels.
    """
    if info.value_mean is None or info.value_std is None:
        raise UserError(
            f"{info.name} has no labels to align latents with: its factors are mere indices. "
            "Choose a data set whose factors have values, such as pendulum/clean."
        )
    binary = np.array([size == 2 for size in info.factor_sizes])
    mean = np.where(binary, 0.5, np.array(info.value_mean, np.float32)).astype(np.float32)
    std = np.where(binary, 0.5, np.array(info.value_std, np.float32)).astype(np.float32)
    return mean, std, binary


def check(
    dataset: Dataset,
    mean: Float[np.ndarray, " f"],
    std: Float[np.ndarray, " f"],
    binary: Bool[np.ndarray, " f"],
) -> None:
    """Raises `UserError` if labels are missing or cannot be meant."""
    info, values = dataset.info, dataset.values
    for i, name in enumerate(info.factor_names):
        column = values[:, i]
        missing = int((~np.isfinite(column)).sum())
        if missing:
            raise UserError(
                f"{missing:,} of {len(column):,} labels of {name} in {info.name} are missing (not "
                "a finite number). Label these images or leave them out."
            )
        far = ~np.isin(column, (0, 1)) if binary[i] else abs(column - mean[i]) > _FARTHEST * std[i]
        if far.any():
            expected = (
                "0 or 1"
                if binary[i]
                else f"within {_FARTHEST:g} standard deviations ({std[i]:.4g}) of {mean[i]:.4g}"
            )
            raise UserError(
                f"{int(far.sum()):,} of {len(column):,} labels of {name} in {info.name} are out of "
                f"range, such as {column[far][0]:.6g}: expected {expected}. Mend the labels, or "
                "the mean and standard deviation that the data set states."
            )
