"""CauF-VAE: a variational autoencoder whose latents cause one another through a causal flow.

Fan, Kou and Gao, "Causal Disentangled Representation Learning with VAE and Causal Flows", arXiv
2304.09010. An encoder gives a Gaussian over exogenous noise eps; a flow along the factors' causal
graph makes of it the factors z, one latent for each labelled factor; a decoder draws the image.
Labels u, wholly or partly there, say which latent is which: `p(z|u)` is the prior, and an alignment
loss draws the latents to the labels. An intervention sets a latent and lets its effects follow
(`intervene_value`).

Stages, of which a config describes those that it wants; they run in this order:

    stage "encoder"    images to labels alone, for a structure learnt from images
    stage "structure"  the flow as a density, each edge of the graph at a price: which are needed?
    stage "flow"       the flow as a density, on the edges that are left
    stage "images"     everything, on images

"structure" and "flow" fit the flow to labels, or (`flow.fit_to`) to the encoder's latents.

Trained as published, in the stage "images" alone, the flow says too little: the encoder's noise
can absorb whatever the mechanisms ought to say. Each log line therefore has the strength of each
edge. Departures from the paper; each is a switch of `config.model`, the published value in
brackets, and `experiments/cauf_vae/pendulum_literal.py` has them all:

    stage "flow", flow.frozen  the flow is fitted to labels first and then left alone  [no stage,
                        False]; or it goes on learning, and weights.flow keeps it a density of the
                        labels  [0]
    head                the encoder tells factors, and the mean of eps is what the flow makes them
                        of, so that supervision does not fight the flow  ["noise": it tells eps]
    posterior_floor     least standard deviation of q(eps|x): nothing hides in small offsets  [0]
    weights.alignment   heavy  [ours: 100; the paper's was not at hand]
    labels_into_encoder off: with them the encoder is handed the answer  [True]
    extra, weights.extra  latents beyond the labelled ones, with their own weight of the KL
                        divergence  [0, 1]
    flow.order_only     every earlier factor is a parent  [False: the factors' graph, `flow.graph`,
                        or the data set's where that is empty; both are in the paper]
    flow.transform      "affine" or "spline"  ["affine"]

Ours as well, where the paper does not say: images without labels (`label_fraction`) have the
flow's own density as the prior, in place of `p(z|u)`; a labels_into_encoder encoder sees them in
half of each batch, so that it can also do without, as in evaluation it must. With `tinted`, half
of the images are shown in another light, which no label tells of: the irrelevant attribute of the
robustness that evaluation measures.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from cdis.data.examples import IMAGES
from cdis.data.info import Dataset, Info
from cdis.errors import UserError
from cdis.methods import labels
from cdis.methods.base import (
    Aux,
    Batch,
    FactorGraph,
    Factors,
    Method,
    Objective,
    Stage,
    Variables,
)
from cdis.networks.autoencoder import patch_networks
from cdis.networks.conditioner import Conditioner
from cdis.objectives import causal_vae
from cdis.ops import causal_flow, gaussian
from cdis.ops.adjacency import order_only, validate_graph
from cdis.ops.images import from_uint8, tinted

Metrics = dict[str, Array]

STAGES = ("encoder", "structure", "flow", "images")

#: What the switches of `config.model` may say.
SWITCHES = {
    "head": ("factor", "noise"),
    "flow.transform": ("affine", "spline"),
    "flow.fit_to": ("labels", "images"),
}
_TRANSFORMS = {"affine": causal_flow.AFFINE, "spline": causal_flow.SPLINE}
#: Where in the noise the strength of an edge is measured; an affine map needs one place only.
_LEVELS = {"affine": (0.0,), "spline": (-1.0, 0.0, 1.0)}
_PRIOR_FLOOR = 0.01
_STRENGTH_DECAY = 0.99


def make(config: ConfigDict, info: Info) -> Method:
    """CauF-VAE for the images, factors and graph of `info`, as `config.model` says.

    Raises `UserError` for a data set without labels or graph, a graph with a cycle or of the wrong
    size, a switch set to what it does not know, stages that do not go together, and images that
    the encoder's patches do not divide.
    """
    model, weights = config.model, config.model.weights
    _check(config, info)
    names, d, extra = info.factor_names, info.num_factors, config.model.extra
    given = _graph(model, info)
    transform, levels = _TRANSFORMS[model.flow.transform], _LEVELS[model.flow.transform]
    options = {"transform": transform}
    mean, std, binary = labels.scale(info)
    parts = model.autoencoder
    encoder, decoder = patch_networks(info.image_shape, **parts, latent=2 * (d + extra))
    conditioner = Conditioner(d, model.flow.hidden, transform.num_parameters)
    prior = Conditioner(d, model.prior_hidden, 2)
    learnt = "structure" in config.stages

    def init(key: PRNGKeyArray, batch: Batch) -> Variables:
        keys = jax.random.split(key, 4)
        image = from_uint8(batch["x"]["image"])
        side = jnp.zeros((len(image), 2 * d)) if model.labels_into_encoder else None
        params = {
            "encoder": encoder.init(keys[0], image, side)["params"],
            "decoder": decoder.init(keys[1], jnp.zeros((len(image), d + extra)))["params"],
            "conditioner": conditioner.init(keys[2])["params"],
            "prior": prior.init(keys[3])["params"],
        }
        return {"params": params} | ({"graph": {"strength": jnp.ones((d, d))}} if learnt else {})

    def mechanisms(variables: Variables) -> causal_flow.Mechanisms:
        return _apply(conditioner, variables["params"]["conditioner"])

    def graph(variables: Variables) -> Float[Array, "f f"]:
        """The edges that are left: all, or those that the stage "structure" found to be strong."""
        if not learnt:
            return jnp.asarray(given)
        return given * (variables["graph"]["strength"] > model.flow.threshold)

    def standardise(values: Float[Array, "b f"]) -> Float[Array, "b f"]:
        return (values - mean) / std

    def prior_of(variables: Variables, u: Float[Array, "b f"]) -> tuple[Array, Array]:
        """Mean and standard deviation of each `p(z_i | u_i)`."""
        theta = causal_flow.map_parameters(
            _apply(prior, variables["params"]["prior"]), jnp.eye(d), u
        )
        return theta[..., 0], _PRIOR_FLOOR + jax.nn.softplus(theta[..., 1])

    def posterior(variables, images, side):
        """Mean and std of q(eps|x), of labelled and then extra latents, and zbar = F(mean)."""
        output = _apply(encoder, variables["params"]["encoder"], from_uint8(images), side)
        location, raw = jnp.split(output, 2, axis=-1)
        spread = model.posterior_floor + jax.nn.softplus(raw - 1.0)
        m, edges = mechanisms(variables), graph(variables)
        if model.head == "factor":
            zbar = location[:, :d]
            centre, _ = causal_flow.inverse(m, edges, zbar, **options)
        else:
            centre = location[:, :d]
            zbar, _ = causal_flow.forward(m, edges, centre, **options)
        return jnp.concatenate([centre, location[:, d:]], axis=-1), spread, zbar

    def side_of(key, u):
        """Labels as the encoder sees them, if it does: hidden from half of the images."""
        if not model.labels_into_encoder:
            return None
        seen = jax.random.bernoulli(key, 0.5, (len(u), 1))
        return jnp.concatenate([u * seen, jnp.broadcast_to(seen, u.shape)], axis=-1)

    def unseen(images):
        return jnp.zeros((len(images), 2 * d)) if model.labels_into_encoder else None

    def edge_strength(variables, z):
        return causal_flow.edge_strength(
            mechanisms(variables), graph(variables), z, noise=levels, **options
        )

    def edge_metrics(strength: Float[Array, "f f"]) -> Metrics:
        return {
            f"edge_{names[j]}_to_{names[i]}": strength[i, j] for i, j in np.argwhere(given).tolist()
        }

    def elbo_terms(variables, images, u, side, labelled, key):
        """Terms of the negative ELBO of each image, and zbar."""
        centre, spread, zbar = posterior(variables, images, side)
        eps = gaussian.reparameterise(key, centre, spread)
        z, log_det = causal_flow.forward(
            mechanisms(variables), graph(variables), eps[:, :d], **options
        )
        output = _apply(
            decoder,
            variables["params"]["decoder"],
            jnp.concatenate([z, eps[:, d:]], axis=-1),
        )
        told = causal_vae.flow_divergence(log_det, spread[:, :d], z, *prior_of(variables, u))
        untold = gaussian.kl(centre[:, :d], spread[:, :d]).sum(-1)
        terms = {
            "reconstruction": -causal_vae.image_log_likelihood(
                output, from_uint8(images), std=model.pixel_std
            ),
            "kl": jnp.where(labelled, told, untold),
        }
        if extra:
            terms["extra"] = gaussian.kl(centre[:, d:], spread[:, d:]).sum(-1)
        return terms, zbar

    def alignment(zbar, u, labelled):
        """Over the labelled images of all; their labels stand in [0, 1] for binary factors."""
        target = jnp.where(binary, (u + 1) / 2, u)
        return labelled * causal_vae.alignment(zbar, target, jnp.asarray(binary))

    def images_loss(variables, batch, context):
        key = context.key
        images, values = batch["x"]["image"], batch["x"]["values"]
        u, labelled = standardise(values), _labelled(values, model.label_fraction)
        sample_key, side_key, noise_key, tint_key = jax.random.split(key, 4)
        if model.tinted:
            images = tinted(images, jax.random.bernoulli(tint_key, 0.5, (len(images),)))
        side = side_of(side_key, u * labelled[:, None])
        terms, zbar = elbo_terms(variables, images, u, side, labelled, sample_key)
        terms["alignment"] = alignment(zbar, u, labelled)
        if weights.flow:
            terms["flow"] = labelled * negative_log_density(variables, u, noise_key)
        terms = {name: term.mean() for name, term in terms.items()}
        total = sum(weights[name] * term for name, term in terms.items())
        strength = edge_strength(variables, jax.lax.stop_gradient(zbar))
        return jnp.asarray(total), Aux(terms | edge_metrics(strength), {})

    def encoder_loss(variables, batch, context):
        key = context.key
        values = batch["x"]["values"]
        u, labelled = standardise(values), _labelled(values, model.label_fraction)
        side = side_of(key, u * labelled[:, None])
        _, _, zbar = posterior(variables, batch["x"]["image"], side)
        error = alignment(zbar, u, labelled).mean()
        return error, Aux({"alignment": error}, {})

    def negative_log_density(variables, u, key):
        """Of each row under the flow, blurred: a deterministic mechanism has no density."""
        u = u + model.flow.blur * jax.random.normal(key, u.shape)
        return -causal_flow.log_prob(mechanisms(variables), graph(variables), u, **options)

    def fitted(batch):
        """What the flow is fitted to, and which rows of it count."""
        if model.flow.fit_to == "images":
            zbar = batch["x"]["latents"]
            return zbar, jnp.ones(len(zbar))
        values = batch["x"]["values"]
        return standardise(values), _labelled(values, model.label_fraction)

    def flow_loss(variables, batch, context):
        key = context.key
        u, counts = fitted(batch)
        value = jnp.mean(counts * negative_log_density(variables, u, key))
        return value, Aux({"flow": value} | edge_metrics(edge_strength(variables, u)), {})

    def structure_loss(variables, batch, context):
        key, step, axis_name = context
        u, counts = fitted(batch)
        whole = variables | {"graph": {"strength": jnp.full((d, d), jnp.inf)}}
        density = jnp.mean(counts * negative_log_density(whole, u, key))
        price = causal_vae.group_lasso(mechanisms(whole).hidden_kernel, jnp.asarray(given))
        now = edge_strength(whole, u)
        if axis_name is not None:
            now = jax.lax.pmean(now, axis_name)
        decay = jnp.where(step == 0, 0.0, _STRENGTH_DECAY)
        strength = decay * variables["graph"]["strength"] + (1 - decay) * now
        terms = {"flow": density, "group_lasso": price}
        value = density + weights.group_lasso * price
        strength = jax.lax.stop_gradient(strength)
        return value, Aux(terms | edge_metrics(strength), {"graph": {"strength": strength}})

    def encode(
        variables: Variables, images: UInt8[Array, "b h w c"], values: Array | None = None
    ) -> dict[str, Array]:
        del values
        centre, _, zbar = posterior(variables, images, unseen(images))
        return {"vectors": jnp.concatenate([zbar, centre[:, d:]], axis=-1)}

    def decode(variables: Variables, representation: dict[str, Array]) -> Array:
        output = _apply(decoder, variables["params"]["decoder"], representation["vectors"])
        return jnp.clip(output, -1, 1)

    def intervene_value(
        variables: Variables,
        images: UInt8[Array, "b h w c"],
        factor: Int[Array, ""],
        value: Float[Array, " b"],
    ) -> Float[Array, "b h w c"]:
        vectors = encode(variables, images)["vectors"]
        u = standardise(jnp.broadcast_to(value[:, None], (len(value), d)))
        # A binary factor's latent is a logit, of which the prior knows what a label makes it.
        wanted = jnp.where(binary, prior_of(variables, u)[0], u)
        fixed = jnp.broadcast_to(jnp.arange(d) == factor, (len(value), d))
        z = causal_flow.counterfactual(
            mechanisms(variables), graph(variables), vectors[:, :d], fixed, wanted, **options
        )
        return decode(variables, {"vectors": jnp.concatenate([z, vectors[:, d:]], axis=-1)})

    def elbo(variables, images, values, key) -> Float[Array, " b"]:
        u, labelled = standardise(values), jnp.ones(len(values), bool)
        terms, _ = elbo_terms(variables, images, u, unseen(images), labelled, key)
        return -jnp.sum(jnp.stack(list(terms.values())), axis=0)

    def structure(variables: Variables, values: Float[Array, "b f"]) -> FactorGraph:
        strength = edge_strength(variables, standardise(values))
        return FactorGraph(strength, strength > model.flow.threshold)

    def check(dataset: Dataset) -> None:
        labels.check(dataset, mean, std, binary)

    fits_latents = model.flow.fit_to == "images"
    source: dict[str, Any] = {"columns": ("latents",) if fits_latents else ("values",)}
    if fits_latents:
        source["precompute"] = lambda variables, images: {
            "latents": encode(variables, images)["vectors"][:, :d]
        }
    whole = {"encoder", "decoder", "prior"} | (set() if model.flow.frozen else {"conditioner"})
    of_images: dict[str, Any] = {"columns": ("image", "values")}
    stages = {
        "encoder": Stage(
            "encoder",
            IMAGES,
            objectives=(Objective(encoder_loss, _within({"encoder"})),),
            **of_images,
        ),
        "structure": Stage(
            "structure",
            IMAGES,
            objectives=(Objective(structure_loss, _within({"conditioner"})),),
            **source,
        ),
        "flow": Stage(
            "flow", IMAGES, objectives=(Objective(flow_loss, _within({"conditioner"})),), **source
        ),
        "images": Stage(
            "images", IMAGES, objectives=(Objective(images_loss, _within(whole)),), **of_images
        ),
    }
    sees, draws = {"encoder", "images"} & set(config.stages), "images" in config.stages
    return Method(
        init=init,
        stages=tuple(stages[name] for name in STAGES if name in config.stages),
        encode=encode if sees else None,
        decode=decode if draws else None,
        elbo=elbo if draws else None,
        factors=Factors(d, intervene_value if draws else None, structure),
        check=check,
    )


def _apply(module: nn.Module, params: Any, *args: Any) -> Any:
    """`module.apply`, whose declared result also covers calls that change variables."""
    return module.apply({"params": params}, *args)


def _within(parts: set[str]) -> Callable[[tuple[str, ...]], bool]:
    return lambda path: path[0] in parts


def _labelled(values: Float[Array, "b f"], fraction: float) -> Array:
    """Which images carry labels: a hash of an image's own labels decides, always the same way.

    The multipliers are those of MurmurHash3's finaliser.
    """
    if fraction >= 1:
        return jnp.ones(len(values), bool)
    mixed = jnp.zeros(len(values), jnp.uint32)
    for column in jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.uint32).T:
        mixed = (mixed ^ column) * jnp.uint32(0x85EBCA6B)
        mixed = (mixed ^ (mixed >> 13)) * jnp.uint32(0xC2B2AE35)
        mixed = mixed ^ (mixed >> 16)
    return mixed.astype(jnp.float32) < fraction * 2.0**32


def _graph(model: ConfigDict, info: Info) -> Float[np.ndarray, "f f"]:
    """The graph that the flow follows, and in which a structure is learnt."""
    if model.flow.order_only:
        return order_only(info.num_factors)
    graph = model.flow.graph or info.graph
    if graph is None:
        raise UserError(
            f"{info.name} has no causal graph. Give one as config.model.flow.graph, set "
            "config.model.flow.order_only, so that every factor may depend on all before it, or "
            "choose a data set with a graph, such as pendulum/clean."
        )
    return validate_graph(graph, info.factor_names)


def _check(config: ConfigDict, info: Info) -> None:
    model = config.model
    for name, allowed in SWITCHES.items():
        value = model
        for part in name.split("."):
            value = value[part]
        if value not in allowed:
            raise UserError(
                f"config.model.{name} is {value!r}, but must be one of {', '.join(allowed)}."
            )
    if not 0 < model.label_fraction <= 1:
        raise UserError(
            f"config.model.label_fraction is {model.label_fraction}, but must be above 0 and at "
            "most 1: without any labels nothing says which latent is which factor."
        )
    if model.label_fraction < 1 and all(info.factor_sizes):
        raise UserError(
            f"config.model.label_fraction is {model.label_fraction}, but the labels of {info.name} "
            "are discrete: which images carry labels is told by the labels themselves, and here "
            "many images have the same. Set it to 1."
        )
    stages = set(config.stages)
    if model.flow.frozen and "flow" not in stages:
        raise UserError(
            "config.model.flow.frozen is set, but there is no stage 'flow' to fit the flow before: "
            "it would stay as it was drawn. Describe config.stages.flow, or let the flow train."
        )
    fitted = stages & {"structure", "flow"}
    if model.flow.fit_to == "images" and fitted and "encoder" not in stages:
        raise UserError(
            "config.model.flow.fit_to is 'images', but there is no stage 'encoder' that would "
            "learn to read them first. Describe config.stages.encoder, or fit to 'labels'."
        )
