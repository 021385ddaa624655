"""beta-VAE: what CauF-VAE is compared with. The same networks, no flow, no graph.

Higgins, Matthey, Pal, Burgess, Glorot, Botvinick, Mohamed and Lerchner, "beta-VAE: Learning Basic
Visual Concepts with a Constrained Variational Framework", ICLR 2017. An encoder gives a diagonal
Gaussian over latents z, whose prior is standard normal; a decoder draws the image. What is
minimised is, in nats for each image,

    -log p(x|z) + KL(q(z|x) || N(0, 1)) + (beta - 1) penalty

Switches of `config.model`, the published value in brackets where the paper has one:

    beta                1 is the VAE of Kingma and Welling (2014)  [4 for natural images and more;
                        it means little without the scale of the likelihood, `pixel_std`]
    penalty             "kl": the divergence again, so that it weighs beta in all; or
                        "total_correlation": beta-TCVAE (arXiv 1802.04942), with its alpha = gamma =
                        1, whose penalty asks for independent latents alone  ["kl"]
    latents             how many
    weights.alignment   0: labels are not used. Otherwise the first latents are drawn to the labels
                        exactly as in CauF-VAE, so that a comparison tells what the labels do and
                        what the flow does  [0]
    tinted              half of the images are shown in another light; see CauF-VAE

Departure: a Gaussian likelihood of a fixed scale, and networks, as in CauF-VAE; the paper has a
Bernoulli likelihood of grey images and deeper networks. With several devices the total correlation
is estimated on each one's share of the batch.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from cdis.data.examples import IMAGES
from cdis.data.info import Dataset, Info
from cdis.errors import UserError
from cdis.methods import labels
from cdis.methods.base import Aux, Batch, Factors, Method, Objective, Stage, Variables
from cdis.networks.autoencoder import patch_networks
from cdis.objectives import causal_vae
from cdis.objectives.beta_vae import total_correlation
from cdis.ops import gaussian
from cdis.ops.images import from_uint8, tinted

PENALTIES = ("kl", "total_correlation")


def make(config: ConfigDict, info: Info) -> Method:
    """beta-VAE for the images of `info`, and for its labels if `weights.alignment` is not 0.

    Its one stage is "images". Raises `UserError` for a switch set to what it does not know, too
    few latents, images that the encoder's patches do not divide and, if labels are used, a data set
    without them.
    """
    model, weight = config.model, config.model.weights.alignment
    _check(config, info)
    parts, latents, supervised = model.autoencoder, model.latents, weight > 0
    encoder, decoder = patch_networks(info.image_shape, **parts, latent=2 * latents)

    def init(key: PRNGKeyArray, batch: Batch) -> Variables:
        of_encoder, of_decoder = jax.random.split(key)
        image = from_uint8(batch["x"]["image"])
        z = jnp.zeros((len(image), latents))
        params = {
            "encoder": encoder.init(of_encoder, image)["params"],
            "decoder": decoder.init(of_decoder, z)["params"],
        }
        return {"params": params}

    def posterior(variables: Variables, images: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of q(z|x)."""
        output = _apply(encoder, variables["params"]["encoder"], from_uint8(images))
        mean, raw = jnp.split(output, 2, axis=-1)
        return mean, jax.nn.softplus(raw - 1.0)

    def elbo_terms(variables, images, key):
        """Terms of the negative ELBO of each image; the posterior and a sample of it."""
        mean, std = posterior(variables, images)
        z = gaussian.reparameterise(key, mean, std)
        drawn = _apply(decoder, variables["params"]["decoder"], z)
        terms = {
            "reconstruction": -causal_vae.image_log_likelihood(
                drawn, from_uint8(images), std=model.pixel_std
            ),
            "kl": gaussian.kl(mean, std).sum(-1),
        }
        return terms, mean, std, z

    def alignment(mean: Float[Array, "b d"], values: Float[Array, "b f"]) -> Float[Array, " b"]:
        centre, scale, binary = labels.scale(info)
        u = (values - centre) / scale
        target = jnp.where(binary, (u + 1) / 2, u)
        return causal_vae.alignment(mean[:, : info.num_factors], target, jnp.asarray(binary))

    def loss(variables, batch, context):
        key = context.key
        images = batch["x"]["image"]
        sample_key, tint_key = jax.random.split(key)
        if model.tinted:
            images = tinted(images, jax.random.bernoulli(tint_key, 0.5, (len(images),)))
        terms, mean, std, z = elbo_terms(variables, images, sample_key)
        if model.penalty == "total_correlation":
            terms[model.penalty] = total_correlation(z, mean, std, num_images=info.num_images)
        if supervised:
            terms["alignment"] = alignment(mean, batch["x"]["values"])
        terms = {name: term.mean() for name, term in terms.items()}
        total = terms["reconstruction"] + terms["kl"] + (model.beta - 1) * terms[model.penalty]
        return total + weight * terms.get("alignment", 0.0), Aux(terms, {})

    def encode(
        variables: Variables, images: UInt8[Array, "b h w c"], values: Array | None = None
    ) -> dict[str, Array]:
        del values
        return {"vectors": posterior(variables, images)[0]}

    def decode(variables: Variables, representation: dict[str, Array]) -> Array:
        drawn = _apply(decoder, variables["params"]["decoder"], representation["vectors"])
        return jnp.clip(drawn, -1, 1)

    def elbo(variables, images, values, key) -> Float[Array, " b"]:
        del values
        terms = elbo_terms(variables, images, key)[0]
        return -(terms["reconstruction"] + terms["kl"])

    def check(dataset: Dataset) -> None:
        labels.check(dataset, *labels.scale(info))

    columns = ("image", "values") if supervised else ("image",)
    return Method(
        init=init,
        stages=(Stage("images", IMAGES, columns, (Objective(loss),)),),
        encode=encode,
        decode=decode,
        elbo=elbo,
        factors=Factors(info.num_factors) if supervised else Factors(),
        check=check if supervised else None,
    )


def _apply(module: nn.Module, params: Any, *args: Any) -> Any:
    """`module.apply`, whose declared result also covers calls that change variables."""
    return module.apply({"params": params}, *args)


def _check(config: ConfigDict, info: Info) -> None:
    model = config.model
    if model.penalty not in PENALTIES:
        raise UserError(
            f"config.model.penalty is {model.penalty!r}, but must be one of {', '.join(PENALTIES)}."
        )
    if model.latents < 1:
        raise UserError(f"config.model.latents is {model.latents}, but must be at least 1.")
    if model.weights.alignment > 0:
        labels.scale(info)
        if model.latents < info.num_factors:
            raise UserError(
                f"config.model.latents is {model.latents}, but {info.name} has {info.num_factors} "
                "labelled factors, each of which needs a latent. Give more latents, or set "
                "config.model.weights.alignment to 0, so that labels are not used."
            )
