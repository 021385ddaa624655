"""Labels as methods use them: standardised, checked, aligned with latents, or partly hidden."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from cdis.data.info import Dataset, Info
from cdis.errors import UserError
from cdis.objectives import supervision

#: Labels further from the mean than this many standard deviations are taken for mistakes.
_MAX_DEVIATION = 10.0


class Scale(NamedTuple):
    """The scale of each factor's labels."""

    mean: Float[np.ndarray, " f"]
    std: Float[np.ndarray, " f"]
    binary: Bool[np.ndarray, " f"]


def scale(info: Info) -> Scale:
    """Mean and standard deviation of each label, and which factors are binary.

    Standardised, a binary label is -1 or 1; its latent is a logit. Raises `UserError` for a data
    set without labels.
    """
    if info.value_mean is None or info.value_std is None:
        raise UserError(
            f"{info.name} has no labels to align latents with: its factors are mere indices. "
            "Choose a data set whose factors have values, such as pendulum/clean."
        )
    binary = np.array([size == 2 for size in info.factor_sizes])
    mean = np.where(binary, 0.5, np.array(info.value_mean, np.float32)).astype(np.float32)
    std = np.where(binary, 0.5, np.array(info.value_std, np.float32)).astype(np.float32)
    return Scale(mean, std, binary)


def standardise(scale: Scale, values: Float[Array, "b f"]) -> Float[Array, "b f"]:
    """Labels u with mean 0 and standard deviation 1 from physical values."""
    return (values - scale.mean) / scale.std


def alignment(scale: Scale, z: Float[Array, "b f"], u: Float[Array, "b f"]) -> Float[Array, " b"]:
    """`cdis.objectives.supervision.alignment` of latents with standardised labels."""
    target = jnp.where(scale.binary, (u + 1) / 2, u)
    return supervision.alignment(z, target, jnp.asarray(scale.binary))


def labelled(values: Float[Array, "b f"], fraction: float) -> Bool[Array, " b"]:
    """Which images carry labels, about `fraction` of them.

    A hash of an image's own labels decides, so the choice never changes. The multipliers are those
    of MurmurHash3's finaliser.
    """
    if fraction >= 1:
        return jnp.ones(len(values), bool)
    mixed = jnp.zeros(len(values), jnp.uint32)
    for column in jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.uint32).T:
        mixed = (mixed ^ column) * jnp.uint32(0x85EBCA6B)
        mixed = (mixed ^ (mixed >> 13)) * jnp.uint32(0xC2B2AE35)
        mixed = mixed ^ (mixed >> 16)
    return mixed.astype(jnp.float32) < fraction * 2.0**32


def check(scale: Scale, dataset: Dataset) -> None:
    """Raises `UserError` if labels are missing or implausible."""
    info, values = dataset.info, dataset.values
    for i, name in enumerate(info.factor_names):
        column, mean, std = values[:, i], scale.mean[i], scale.std[i]
        missing = int((~np.isfinite(column)).sum())
        if missing:
            raise UserError(
                f"{missing:,} of {len(column):,} labels of {name} in {info.name} are missing (not "
                "a finite number). Label these images or leave them out."
            )
        if scale.binary[i]:
            wrong, expected = ~np.isin(column, (0, 1)), "0 or 1"
        else:
            wrong = abs(column - mean) > _MAX_DEVIATION * std
            expected = f"within {_MAX_DEVIATION:g} standard deviations ({std:.4g}) of {mean:.4g}"
        if wrong.any():
            raise UserError(
                f"{int(wrong.sum()):,} of {len(column):,} labels of {name} in {info.name} are out "
                f"of range, such as {column[wrong][0]:.6g}: expected {expected}. Fix the labels, "
                "or the mean and standard deviation that the data set states."
            )
