"""Initial values of parameters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


def within(bound: float) -> Callable[..., Any]:
    """Uniform on (-bound, bound), as an initialiser of Flax.

    PyTorch's layers start so, weights and biases, with `bound = fan_in ** -0.5`; the fan-in of a
    transposed convolution counts its outputs in place of its inputs.
    """

    def start(
        key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any = jnp.float32
    ) -> Float[Array, "..."]:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return start
