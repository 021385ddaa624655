"""Losses on soft assignments of encoder outputs to codes: arrays in, scalars out.

Together the two measure the information about an image that its codes lack: codes should be diverse
over all images and certain for each. Ours, not from a paper.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cdis.ops import quantize


def unused_codes(
    assignment: Float[Array, "b c m k"], *, axis_name: str | None = None
) -> Float[Array, ""]:
    """`log K - H(mean assignment)` in nats, mean over codebooks: 0 if all codes are used equally.

    The mean is over the images of the batch on all devices of `axis_name`, and over places.
    """
    usage = assignment.mean((0, 2))
    if axis_name is not None:
        usage = jax.lax.pmean(usage, axis_name)
    return math.log(assignment.shape[-1]) - quantize.usage_entropy(usage).mean()


def uncertain_codes(
    assignment: Float[Array, "b c m k"], log_assignment: Float[Array, "b c m k"]
) -> Float[Array, ""]:
    """Entropy of each assignment in nats, mean over images, codebooks and places: 0 if certain.

    `log_assignment` is the logarithm of `assignment`.
    """
    return -jnp.mean(jnp.sum(assignment * log_assignment, axis=-1))
