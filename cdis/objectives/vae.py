"""Terms of a variational autoencoder's loss: arrays in, nats per image out."""

import math

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cdis.ops import gaussian


def image_log_likelihood(
    images: Float[Array, "b h w c"], target: Float[Array, "b h w c"], *, std: float
) -> Float[Array, " b"]:
    """`log N(target; images, std^2)` summed over pixels.

    Both arrays are in [-1, 1]; `std` is for pixels in [0, 1].
    """
    log_p = gaussian.log_prob(target / 2, images / 2, std)
    return log_p.sum((1, 2, 3))


def flow_divergence(
    log_det: Float[Array, " b"],
    posterior_std: Float[Array, "b d"],
    z: Float[Array, "b d"],
    prior_mean: Float[Array, "b d"],
    prior_std: Float[Array, "b d"],
) -> Float[Array, " b"]:
    """`KL(q(z|x) || p(z|u))` from one sample z = F(eps), for a diagonal Gaussian `p(z|u)`.

    `log q(z|x) = log q(eps|x) - log |det dF/deps|` (arXiv 2304.09010, section 4). The entropy of
    q(eps|x) is exact; `log |det|` and `log p(z|u)` are evaluated at the sample.
    """
    entropy = jnp.sum(jnp.log(posterior_std) + 0.5 * (1 + math.log(2 * math.pi)), axis=-1)
    return -entropy - log_det - gaussian.log_prob(z, prior_mean, prior_std).sum(-1)


def total_correlation(
    z: Float[Array, "b d"], mean: Float[Array, "b d"], std: Float[Array, "b d"], *, num_images: int
) -> Float[Array, " b"]:
    """`log q(z) - sum_k log q(z_k)` at each sample; q is the mixture of all images' posteriors.

    Estimated from the batch by the minibatch-weighted sampling of Chen, Li, Grosse and Duvenaud,
    "Isolating Sources of Disentanglement in Variational Autoencoders" (arXiv 1802.04942):
    `log q(z_i) = log sum_j q(z_i | x_j) - log(num_images b)`, and likewise for each dimension. The
    mean is a biased estimate of the total correlation; the bias shrinks as the batch grows.

    Args:
      z: one sample from the posterior of each image.
      mean, std: of these posteriors, which are diagonal Gaussians.
      num_images: size of the data set; it shifts the value and leaves the gradient alone.
    """
    chex.assert_equal_shape([z, mean, std])
    log_q = gaussian.log_prob(z[:, None], mean[None], std[None])  # [sample, posterior, dimension]
    log_total = math.log(num_images * len(z))
    joint = jax.nn.logsumexp(log_q.sum(-1), axis=1) - log_total
    marginals = jax.nn.logsumexp(log_q, axis=1) - log_total
    return joint - marginals.sum(-1)
