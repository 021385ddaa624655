"""Losses of a variational autoencoder with a causal flow (arXiv 2304.09010, section 4).

Arrays in; a number for each image out, in nats where it is a likelihood.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from cdis.ops import gaussian


def image_log_likelihood(
    images: Float[Array, "b h w c"], target: Float[Array, "b h w c"], *, std: float
) -> Float[Array, " b"]:
    """`log p(x|z)`, Gaussian of a fixed `std`, for pixels in [0, 1]; both arrays are in [-1, 1]."""
    log_p = gaussian.log_prob(target / 2, images / 2, std)
    return log_p.sum((1, 2, 3))


def flow_divergence(
    log_det: Float[Array, " b"],
    posterior_std: Float[Array, "b d"],
    z: Float[Array, "b d"],
    prior_mean: Float[Array, "b d"],
    prior_std: Float[Array, "b d"],
) -> Float[Array, " b"]:
    """`KL(q(z|x) || p(z|u))`, `p(z|u)` a diagonal Gaussian, estimated from one sample z = F(eps).

    `log q(z|x) = log q(eps|x) - log |det dF/deps|`; the entropy of q(eps|x) is exact, and only
    `log |det|` and `log p(z|u)` are of the sample.
    """
    entropy = jnp.sum(jnp.log(posterior_std) + 0.5 * (1 + math.log(2 * math.pi)), axis=-1)
    return -entropy - log_det - gaussian.log_prob(z, prior_mean, prior_std).sum(-1)


def alignment(
    z: Float[Array, "b f"], labels: Float[Array, "b f"], binary: Bool[Array, " f"]
) -> Float[Array, " b"]:
    """How far each latent is from its factor's label, summed over factors.

    Squared error of a continuous label; cross-entropy, z the logit, of a binary one (0 or 1).
    """
    cross_entropy = jax.nn.softplus(z) - z * labels
    return jnp.where(binary, cross_entropy, (z - labels) ** 2).sum(-1)


def group_lasso(kernel: Float[Array, "d d h"], adjacency: Float[Array, "d d"]) -> Float[Array, ""]:
    """`sum_ij |kernel_ij|_2` over the edges of the graph: each edge is a group, kept or left out.

    Yuan and Lin, "Model selection and estimation in regression with grouped variables" (2006).
    """
    # The floor keeps the gradient of the root finite at a group of zeros.
    return jnp.sum(adjacency * jnp.sqrt(jnp.sum(kernel**2, axis=-1) + 1e-12))
