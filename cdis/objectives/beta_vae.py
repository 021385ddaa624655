"""The total correlation of a batch of latents (arXiv 1802.04942), beside the beta-VAE's own terms.

Likelihood and divergence are those of `cdis.objectives.causal_vae` and `cdis.ops.gaussian`.
"""

import math

import chex
import jax
from jaxtyping import Array, Float

from cdis.ops import gaussian


def total_correlation(
    z: Float[Array, "b d"], mean: Float[Array, "b d"], std: Float[Array, "b d"], *, num_images: int
) -> Float[Array, " b"]:
    """`log q(z) - sum_k log q(z_k)` at each sample, q the mixture of all images' posteriors.

    Estimated from the batch alone by the minibatch-weighted sampling of Chen, Li, Grosse and
    Duvenaud, "Isolating Sources of Disentanglement in Variational Autoencoders" (NeurIPS 2018):
    `log q(z_i) = log sum_j q(z_i | x_j) - log(num_images b)`, and likewise of each dimension. Its
    mean estimates the total correlation, biased, and less so the larger the batch.

    Args:
      z: one sample of each image's posterior.
      mean, std: of the posteriors, diagonal Gaussians, of the same images.
      num_images: of the data set; moves the value, not the gradient.
    """
    chex.assert_equal_shape([z, mean, std])
    log_q = gaussian.log_prob(z[:, None], mean[None], std[None])  # [sample, posterior, dimension]
    log_total = math.log(num_images * len(z))
    joint = jax.nn.logsumexp(log_q.sum(-1), axis=1) - log_total
    marginals = jax.nn.logsumexp(log_q, axis=1) - log_total
    return joint - marginals.sum(-1)
