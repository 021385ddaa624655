"""beta-VAE, the baseline of CauF-VAE: the same networks without causal flow and graph.

Higgins, Matthey, Pal, Burgess, Glorot, Botvinick, Mohamed and Lerchner, "beta-VAE: Learning Basic
Visual Concepts with a Constrained Variational Framework", ICLR 2017. An encoder gives a diagonal
Gaussian over latents z, whose prior is standard normal; a decoder turns z into an image. The loss,
in nats per image, is

    -log p(x|z) + KL(q(z|x) || N(0, 1)) + (beta - 1) penalty

Switches of `config.model`, with the published value in brackets where the paper has one:

    beta                1 is the VAE of Kingma and Welling (2014)  [4 and more for natural images;
                        only meaningful beside the scale of the likelihood, `pixel_std`]
    penalty             "kl": the divergence again, which gives it a weight of beta in all; or
                        "total_correlation": beta-TCVAE (arXiv 1802.04942) with alpha = gamma = 1,
                        which penalises dependence between latents alone  ["kl"]
    latents             their number
    weights.alignment   0: labels are not used. Otherwise the first latents are aligned with the
                        labels exactly as in CauF-VAE, so that a comparison separates the effect of
                        labels from that of the causal flow  [0]
    tinted              half of the images are shown in another light, as in anchored CauF-VAE

Departures: the likelihood is a Gaussian of fixed scale, and the networks are those of CauF-VAE; the
paper has a Bernoulli likelihood for grey images and deeper networks. With several devices, each
estimates the total correlation from its share of the batch.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from cdis.config import common, stage
from cdis.data.examples import IMAGES
from cdis.data.info import Info
from cdis.errors import UserError
from cdis.methods import diagnose, labels
from cdis.methods.base import (
    Aux,
    Batch,
    Context,
    Factors,
    Method,
    Objective,
    Representation,
    Stage,
    Variables,
)
from cdis.methods.fitting import fit_patch
from cdis.networks.apply import apply
from cdis.networks.autoencoder import patch_networks
from cdis.objectives import vae
from cdis.ops import gaussian
from cdis.ops.images import from_uint8, tinted

PENALTIES = ("kl", "total_correlation")

SMOKE = {"model.autoencoder.width": 4, "model.autoencoder.hidden": 8}


def defaults() -> ConfigDict:
    """The config of `experiments/baselines/beta_vae_pendulum_cpu.py`."""
    config = common()
    config.method = "cdis.methods.beta_vae"
    config.data.name = "pendulum/clean"
    config.validate_every = 500
    config.checkpoint_every = 500
    config.stages.images = stage(
        steps=2000,
        batch_size=64,
        learning_rate=1e-3,
        schedule="cosine",
        warmup_steps=100,
        clip_norm=1.0,
    )
    config.model = ConfigDict(
        {
            "beta": 4.0,
            "penalty": "kl",  # | "total_correlation"
            "latents": 4,
            "tinted": False,  # half of the images in another light
            "pixel_std": 0.1,  # of the decoder's Gaussian, for pixels in [0, 1]
            "autoencoder": {
                "patch": 0,  # pixels; 0: to fit the images
                "width": 32,
                "hidden": 256,
                "rank": 48,  # of the decoder's separable images; 0: convolutions
            },
            "weights": {"alignment": 0.0},  # 0: labels are not used
        }
    )
    return config


fit = fit_patch


class Networks(NamedTuple):
    """The networks; any Flax module with the same inputs and outputs will do."""

    encoder: nn.Module  #: images [b, h, w, c] in [-1, 1] to [b, 2 * latents]
    decoder: nn.Module  #: latents [b, latents] to images in [-1, 1]


class Model(NamedTuple):
    """What the functions of the method need beside variables and data."""

    config: ConfigDict  #: `config.model`
    info: Info
    networks: Networks
    scale: labels.Scale | None  #: None: labels are not used


def networks(config: ConfigDict, info: Info) -> Networks:
    """The default networks."""
    model = config.model
    return Networks(
        *patch_networks(info.image_shape, **model.autoencoder, latent=2 * model.latents)
    )


def make(
    config: ConfigDict, info: Info, networks: Callable[[ConfigDict, Info], Networks] = networks
) -> Method:
    """beta-VAE for the images of `info`, and for its labels if `weights.alignment` is not 0.

    Its one stage is "images". Networks can be replaced as in `cdis.methods.cauf_vae.make`. Raises
    `UserError` for an unknown penalty, too few latents and, if labels are used, a data set
    without them.
    """
    config = fit(config, info)
    _check(config.model, info)
    supervised = config.model.weights.alignment > 0
    scale = labels.scale(info) if supervised else None
    model = Model(config.model, info, networks(config, info), scale)
    columns = ("image", "values") if supervised else ("image",)
    unlabelled = partial(diagnose.latents, remedy="lower config.model.beta")
    only = Stage(
        "images",
        IMAGES,
        columns,
        (Objective(partial(images_loss, model)),),
        diagnose=diagnose.labelled_latents if supervised else unlabelled,
    )
    return Method(
        init=partial(init, model),
        stages=(only,),
        encode=partial(encode, model),
        decode=partial(decode, model),
        elbo=partial(elbo, model),
        factors=Factors(info.num_factors) if supervised else Factors(),
        check=partial(labels.check, scale) if scale else None,
    )


def init(model: Model, key: PRNGKeyArray, batch: Batch) -> Variables:
    """Fresh variables."""
    encoder_key, decoder_key = jax.random.split(key)
    images = from_uint8(batch["x"]["image"])
    z = jnp.zeros((len(images), model.config.latents))
    params = {
        "encoder": model.networks.encoder.init(encoder_key, images)["params"],
        "decoder": model.networks.decoder.init(decoder_key, z)["params"],
    }
    return {"params": params}


def posterior(
    model: Model, variables: Variables, images: UInt8[Array, "b h w c"]
) -> tuple[Float[Array, "b d"], Float[Array, "b d"]]:
    """Mean and standard deviation of q(z|x)."""
    output = apply(model.networks.encoder, variables["params"]["encoder"], from_uint8(images))
    return gaussian.from_output(output)


def elbo_terms(
    model: Model,
    variables: Variables,
    images: UInt8[Array, "b h w c"],
    mean: Float[Array, "b d"],
    std: Float[Array, "b d"],
    z: Float[Array, "b d"],
) -> dict[str, Float[Array, " b"]]:
    """Terms of the negative ELBO of each image, from its posterior and a sample z of it."""
    output = apply(model.networks.decoder, variables["params"]["decoder"], z)
    log_likelihood = vae.image_log_likelihood(
        output, from_uint8(images), std=model.config.pixel_std
    )
    return {"reconstruction": -log_likelihood, "kl": gaussian.kl(mean, std).sum(-1)}


def images_loss(
    model: Model, variables: Variables, batch: Batch, context: Context
) -> tuple[Float[Array, ""], Aux]:
    """The loss at the top of this file, and the alignment with labels if they are used."""
    config, info, images = model.config, model.info, batch["x"]["image"]
    sample_key, tint_key = jax.random.split(context.key)
    if config.tinted:
        images = tinted(images, jax.random.bernoulli(tint_key, 0.5, (len(images),)))
    mean, std = posterior(model, variables, images)
    z = gaussian.reparameterise(sample_key, mean, std)
    terms = elbo_terms(model, variables, images, mean, std, z)
    if config.penalty == "total_correlation":
        terms[config.penalty] = vae.total_correlation(z, mean, std, num_images=info.num_images)
    if model.scale:
        given, zbar = labels.read(model.scale, batch["x"]["values"]), mean[:, : info.num_factors]
        terms["alignment"] = labels.alignment(model.scale, zbar, given)
        signs = labels.signs(model.scale, info.factor_names, zbar, given)
    else:
        signs = {"spread": mean.std(0).max()}
    means = {name: term.mean() for name, term in terms.items()}
    total = means["reconstruction"] + means["kl"] + (config.beta - 1) * means[config.penalty]
    total += config.weights.alignment * means.get("alignment", 0.0)
    return total, Aux(means | signs, {})


def encode(
    model: Model,
    variables: Variables,
    images: UInt8[Array, "b h w c"],
    values: Float[Array, "b f"] | None = None,
) -> Representation:
    """The mean of q(z|x) of each image. Labels are not used."""
    del values
    return {"vectors": posterior(model, variables, images)[0]}


def decode(
    model: Model, variables: Variables, representation: Representation
) -> Float[Array, "b h w c"]:
    """The mean image p(x|z) of each vector of latents, clipped to [-1, 1]."""
    z = representation["vectors"]
    return jnp.clip(apply(model.networks.decoder, variables["params"]["decoder"], z), -1, 1)


def elbo(
    model: Model,
    variables: Variables,
    images: UInt8[Array, "b h w c"],
    values: Float[Array, "b f"],
    key: PRNGKeyArray,
) -> Float[Array, " b"]:
    """A lower bound on log p(x), whatever beta is."""
    del values
    mean, std = posterior(model, variables, images)
    z = gaussian.reparameterise(key, mean, std)
    terms = elbo_terms(model, variables, images, mean, std, z)
    return -(terms["reconstruction"] + terms["kl"])


def _check(model: ConfigDict, info: Info) -> None:
    if model.penalty not in PENALTIES:
        raise UserError(
            f"config.model.penalty is {model.penalty!r}, but must be one of {', '.join(PENALTIES)}."
        )
    if model.latents < 1:
        raise UserError(f"config.model.latents is {model.latents}, but must be at least 1.")
    if model.weights.alignment > 0 and model.latents < info.num_factors:
        raise UserError(
            f"config.model.latents is {model.latents}, but {info.name} has {info.num_factors} "
            "labelled factors, each of which needs a latent. Give more latents, or set "
            "config.model.weights.alignment to 0, so that labels are not used."
        )
