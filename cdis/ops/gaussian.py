"""Diagonal Gaussians, given by mean and standard deviation; results are per element, in nats."""

import math

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def from_output(
    output: Float[Array, "b 2*d"], *, floor: float = 0.0
) -> tuple[Float[Array, "b d"], Float[Array, "b d"]]:
    """A network's output as mean and standard deviation `floor + softplus(output - 1)`."""
    mean, raw = jnp.split(output, 2, axis=-1)
    return mean, floor + jax.nn.softplus(raw - 1.0)


def reparameterise(
    key: PRNGKeyArray, mean: Float[Array, "*shape"], std: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """A differentiable sample, `mean + std * n` with n ~ N(0, 1) (Kingma and Welling 2014)."""
    chex.assert_equal_shape([mean, std])
    return mean + std * jax.random.normal(key, mean.shape, mean.dtype)


def log_prob(x: Array, mean: Array | float = 0.0, std: Array | float = 1.0) -> Array:
    """`log N(x; mean, std^2)`; arguments broadcast."""
    std = jnp.asarray(std)
    return -0.5 * ((x - mean) / std) ** 2 - jnp.log(std) - _HALF_LOG_TWO_PI


def kl(
    mean: Array, std: Array, prior_mean: Array | float = 0.0, prior_std: Array | float = 1.0
) -> Array:
    """`KL(N(mean, std^2) || N(prior_mean, prior_std^2))`; arguments broadcast.

    Kingma and Welling 2014, appendix B, here for any Gaussian prior.
    """
    ratio = (std / prior_std) ** 2
    return 0.5 * (ratio + ((mean - prior_mean) / prior_std) ** 2 - 1.0 - jnp.log(ratio))
