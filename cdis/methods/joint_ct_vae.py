"""Joint CT-VAE: CT-VAE (`cdis.methods.ct_vae`) with transitions that shape the codes. Ours.

CT-VAE is Gendron, Witbrock and Dobbie, "Disentanglement of Latent Representations via (Sparse)
Causal Interventions", arXiv 2302.00869 (IJCAI 2023). An image becomes N codes, one from each of N
codebooks of size K; the codes are the nodes of a causal graph; an action rewires the edges into the
nodes that it hits. Trained, the model applies actions to images (`intervene`) and infers the action
between two images (`retrieve`).

    stage "joint"        autoencoder and transitions together, on pairs of images
    stage "transition"   transitions again, on codes that are frozen and computed once

Departures from the paper, with the published form in brackets. The README reports the measured
effect of the main ones.

    training          transitions shape the codes, through straight-through one-hot codes of both
                      images [the autoencoder is trained alone, then frozen]
    joint stage       every node's code is predicted from its own code and the action alone, which
                      makes codes autonomous [no such stage]; two factors should not move the same
                      node (`weights.sharing`) [no such loss]; the encoder reads the codes of images
                      that the decoder draws of recombined codes (`weights.consistency`), so that
                      combinations never seen are encoded like others (Wiedemer et al.,
                      arXiv 2310.05327) [no such loss]
    batches           every pair trains both retrieval and prediction [base, action and retrieval
                      mode take turns], and is also used from y to x with the opposite action [not]
    labels            only some pairs may have a label of their action, and labels may be wrong
                      (`action_labels`, see `cdis.methods.action_labels`) [all have a right one]
    retrieval         evidence is summed over nodes (`retrieval.over_nodes`) [mean]; the temperature
                      can be learned [1]
    gates             deterministic: on where the probability exceeds one half [stochastic]
    mask              a free logit for each (action, node, code) [additive in action and node, which
                      cannot select a node by the action]; initially most nodes are hit and there
                      are no edges (`transition.mask_start`, `.edge_start`) [zero logits]; each hit
                      has a price (`weights.mask`), so that an action hits few nodes [none]
    copying           a node that is not hit and has no hit parent keeps its code
                      (`transition.copy`) [its mechanism predicts it]
    mechanisms        each node has its own mechanism and embeddings [shared mechanism, one-hot
                      codes with sinusoidal positions]
    autoencoder       every code sees the whole image; images are decoded as sums of separable terms
                      [a grid of patches, convolutions]
    reconstruction    binary cross-entropy [squared error]; an image decoded from predicted codes
                      must match y (`weights.image`) [no such loss]
    quantiser         the encoder is trained through soft assignments to codes [the gradient of a
                      code's vector is copied to the encoder's output]; codes should all be in use
                      (`weights.usage`) and certain for each image (`weights.doubt`) [no such
                      losses]

The other options of `config.model.transition` are those of
`cdis.networks.causal_transition.CausalTransition`; `kind="dense"` replaces the graph by one dense
network.
"""

import functools
import math
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from cdis.config import common, stage
from cdis.data.info import Info
from cdis.methods import action_labels, diagnose, fitting
from cdis.methods.action_labels import UNKNOWN, Belief
from cdis.methods.base import (
    ActionGraph,
    Actions,
    Aux,
    Batch,
    Codes,
    Context,
    Method,
    Objective,
    Path,
    Representation,
    Stage,
    Variables,
)
from cdis.methods.switches import check_noise, check_switches
from cdis.networks import autoencoder
from cdis.networks.apply import apply
from cdis.networks.causal_transition import (
    Action,
    CausalTransition,
    DenseTransition,
    Transition,
)
from cdis.objectives import codes as code_terms
from cdis.objectives import reconstruction, transition
from cdis.ops import quantize, retrieve
from cdis.ops.actions import factor_of, opposite
from cdis.ops.images import from_uint8

Scalars = dict[str, Array]


def defaults() -> ConfigDict:
    """The complete config of the quickstart: coloured sprites, minutes on two CPU cores.

    The recipe fits itself to other data (`fit`); only the steps may have to be more.
    """
    config = common()
    config.method = "cdis.methods.joint_ct_vae"
    config.data.name = "sprites2d/coloured"
    # The joint stage takes nearly all of the time: its steps make a run shorter or longer.
    for name, steps, learning_rate in (("joint", 6000, 2e-3), ("transition", 500, 1e-3)):
        config.stages[name] = stage(
            steps=steps,
            batch_size=64,
            learning_rate=learning_rate,
            schedule="cosine",
            warmup_steps=100,
            weight_decay=1e-4,
            clip_norm=1.0,
        )
    config.model = ConfigDict(
        {
            # The steps of a stage between which a weight rises from 0 to its full value; of
            # "transitions", the gradient that the transitions send to the codes and the image
            # term. All but "mask" concern the joint stage alone.
            "ramps": {
                "transitions": (300, 500),
                "sharing": (0, 1000),
                "consistency": (500, 1500),
                "doubt": (1500, 2500),
                "mask": (0, 1000),
            },
            "gates": "deterministic",  # | "stochastic"
            "edge_rate": 0.1,  # of the edges' prior
            "action_labels": action_labels.defaults(),
            "autoencoder": {
                "patch": 0,  # pixels; 0: to fit the images
                "width": 32,
                "hidden": 256,
                "decoder_hidden": (256, 256),
                "decoder_rank": 48,  # number of separable terms of an image
            },
            "codes": {
                "num_codebooks": 0,  # N, the number of nodes; 0: to fit the number of factors
                "num_codes": 0,  # K; 0: two for each value of the factor with the most
                "code_dim": 2,
                "initial_scale": 0.8,  # standard deviation of initial code vectors
                "assignment_temperature": 0.4,
            },
            "transition": {
                "kind": "graph",  # | "dense"
                "dense_hidden": (256, 256),
                "embedding": 32,
                "mask": "table",  # | "additive"
                "mask_start": 0.5,
                "edge_start": -2.0,
                "edge_hidden": 8,
                "message_heads": 4,  # 0: 1 + A
                "message_hidden": (16,),
                "mechanism": "per_node",  # | "shared"
                "copy": True,
                "noise": "off",  # | "exo" | "endo", with stochastic gates
            },
            "retrieval": {
                "over_nodes": "sum",  # | "mean"
                "temperature": 1.0,
                "learned_temperature": False,
            },
            "weights": {
                "reconstruction": 60.0,  # in nats per pixel value, as "image"
                "codebook": 0.25,
                "commitment": 0.0625,
                "usage": 3.0,
                "doubt": 1.0,
                "retrieval": 2.0,
                "action": 4.0,
                "image": 30.0,
                "edge_prior": 0.0,
                "graph_size": 0.0,
                "orphans": 0.0,
                "mask": 4.0,
                "sharing": 4.0,  # for each pair of factors
                "consistency": 1.0,
            },
        }
    )
    return config


#: Overrides that make the networks tiny.
SMOKE = {
    "model.autoencoder.width": 4,
    "model.autoencoder.hidden": 16,
    "model.autoencoder.decoder_hidden": (16,),
    "model.autoencoder.decoder_rank": 4,
    "model.transition.embedding": 8,
    "model.transition.message_heads": 1,
    "model.transition.message_hidden": (4,),
}

#: The values that switches of `config.model` may take.
SWITCHES = {
    "gates": ("deterministic", "stochastic"),
    "transition.kind": ("graph", "dense"),
    "transition.mask": ("table", "additive"),
    "transition.mechanism": ("per_node", "shared"),
    "transition.noise": ("off", "exo", "endo"),
    "retrieval.over_nodes": ("sum", "mean"),
}


def fit(config: ConfigDict, info: Info) -> ConfigDict:
    """The config with a patch and numbers of codebooks and codes that fit the data, where 0.

    Weights need no fitting: terms of pixels are means over pixel values, hence alike for all sizes
    of images, and `weights.sharing` is the price for each pair of factors.
    """
    sizes = {
        "autoencoder.patch": fitting.patch(info),
        "codes.num_codebooks": fitting.num_codebooks(info),
        "codes.num_codes": fitting.num_codes(info),
    }
    return fitting.filled(config, sizes)


class Networks(NamedTuple):
    """The Flax modules. Each code is of the whole image, so N = C codebooks, of vectors of size E.

    encoder: images, float32 `[B, H, W, C]` in [-1, 1], to latents `[B, N * E]`.
    decoder: `[B, N * E]` to logits of pixels `[B, H, W, C]`.
    transition: called as `cdis.networks.causal_transition.CausalTransition` is.
    """

    encoder: nn.Module
    decoder: nn.Module
    transition: nn.Module


class MakeNetworks(Protocol):
    """Networks for a complete config and a data set, as `make` is given them."""

    def __call__(self, config: ConfigDict, info: Info, /) -> Networks: ...


class Model(NamedTuple):
    """What every function of the method needs to know."""

    config: ConfigDict  #: `config.model` of the experiment
    info: Info
    networks: Networks
    gate_key: PRNGKeyArray | None  #: of gates outside training; None: deterministic gates


def networks(config: ConfigDict, info: Info) -> Networks:
    """The networks that `config.model` describes."""
    codes, parts = config.model.codes, config.model.autoencoder
    latent = codes.num_codebooks * codes.code_dim
    return Networks(
        autoencoder.CompactEncoder(parts.patch, parts.width, parts.hidden, latent),
        autoencoder.CompactDecoder(
            tuple(parts.decoder_hidden), parts.decoder_rank, info.image_shape
        ),
        transition_layer(config, info),
    )


def transition_layer(config: ConfigDict, info: Info) -> CausalTransition | DenseTransition:
    """The layer that `config.model.transition` describes."""
    options = config.model.transition.to_dict()
    kind, dense_hidden = options.pop("kind"), options.pop("dense_hidden")
    sizes: dict[str, Any] = dict(
        num_nodes=config.model.codes.num_codebooks,
        num_codes=config.model.codes.num_codes,
        num_actions=info.num_actions,
    )
    if kind == "dense":
        return DenseTransition(**sizes, hidden=tuple(dense_hidden))
    options["message_hidden"] = tuple(options["message_hidden"])
    return CausalTransition(**sizes, **options, published=False)


def make(config: ConfigDict, info: Info, networks: MakeNetworks = networks) -> Method:
    """Joint CT-VAE for the images and actions of `info`, as `config.model` describes it.

    To use networks of your own, put this into a module and name it in `config.method`:

        from cdis.methods import joint_ct_vae
        def networks(config, info):
            return joint_ct_vae.networks(config, info)._replace(encoder=MyEncoder())
        def make(config, info):
            return joint_ct_vae.make(config, info, networks=networks)

    Raises `UserError` for a switch of `config.model` with an unknown value.
    """
    config = fit(config, info)
    settings = config.model
    check_switches(settings, SWITCHES)
    check_noise(settings)
    action_labels.check(settings.action_labels, info)
    gate_key = None if settings.gates == "deterministic" else jax.random.key(config.seed)
    model = Model(settings, info, networks(config, info), gate_key)
    bind = functools.partial
    rows = action_labels.rows(settings.action_labels)
    joint = Stage(
        name="joint",
        rows=rows,
        columns=("image",),
        objectives=(Objective(bind(joint_loss, model), bind(trained_jointly, model)),),
        diagnose=bind(
            diagnose.codes,
            num_codes=settings.codes.num_codes,
            remedy="raise config.model.weights.usage",
        ),
    )
    last = Stage(
        name="transition",
        rows=rows,
        columns=("codes", "image") if settings.weights.image else ("codes",),
        objectives=(Objective(bind(transition_loss, model), bind(trained_last, model)),),
        precompute=bind(precompute_codes, model),
    )
    return Method(
        init=bind(init, model),
        stages=(joint, last),
        encode=bind(encode, model),
        decode=bind(decode, model),
        codes=Codes(settings.codes.num_codes, settings.codes.num_codebooks),
        actions=Actions(
            bind(retrieve_action, model),
            bind(intervene, model),
            bind(describe, model),
            bind(retrieve_steps, model),
        ),
        check=bind(action_labels.check_data, settings.action_labels),
        warnings=fitting.too_small(
            info, num_codes=settings.codes.num_codes, num_nodes=settings.codes.num_codebooks
        ),
    )


def trained_jointly(model: Model, path: Path) -> bool:
    """Does the joint stage train this parameter?"""
    return path[0] != "retrieval" or model.config.retrieval.learned_temperature


def trained_last(model: Model, path: Path) -> bool:
    """Does the last stage train this parameter? Never those that its codes were computed with."""
    parts = {"transition", "retrieval"} | ({"decoder"} if model.config.weights.image else set())
    return path[0] in parts and trained_jointly(model, path)


# Parts of the model


def init(model: Model, key: PRNGKeyArray, batch: Batch) -> Variables:
    """Initial parameters, and no action seen yet; latents of `batch` are standardised."""
    codes, networks, keys = model.config.codes, model.networks, jax.random.split(key, 4)
    image = from_uint8(batch["x"]["image"])
    encoder: Any = networks.encoder.init(keys[0], image)["params"]
    latent = apply(networks.encoder, encoder, image)
    if isinstance(networks.encoder, autoencoder.CompactEncoder):
        encoder = autoencoder.standardise_latents(encoder, latent)
    one_hot = jnp.zeros((len(image), codes.num_codebooks, codes.num_codes)).at[..., 0].set(1.0)
    shape = (codes.num_codebooks, codes.num_codes, codes.code_dim)
    temperature = jnp.float32(model.config.retrieval.temperature)
    return {
        "params": {
            "encoder": encoder,
            "decoder": networks.decoder.init(keys[1], latent)["params"],
            "transition": networks.transition.init(keys[2], one_hot, "all")["params"],
            "retrieval": {"log_temperature": jnp.log(temperature)},
            "codebook": {"vectors": codes.initial_scale * jax.random.normal(keys[3], shape)},
        },
        "seen": {"counts": jnp.zeros((model.info.num_actions, *shape[:2]))},
    }


def codebooks(variables: Variables) -> Float[Array, "c k e"]:
    """The vectors of all codes."""
    return variables["params"]["codebook"]["vectors"]


def latents(
    model: Model, variables: Variables, images: Float[Array, "b h w c"]
) -> Float[Array, "b c 1 e"]:
    """Encoder outputs, cut into one chunk for each codebook."""
    h = apply(model.networks.encoder, variables["params"]["encoder"], images)
    return quantize.split_codebooks(
        h[:, None, None], num_codebooks=model.config.codes.num_codebooks
    )


def pixel_logits(
    model: Model, variables: Variables, quantised: Float[Array, "b c 1 e"]
) -> Float[Array, "b h w c"]:
    """Decoder outputs for vectors of codes."""
    z = quantize.merge_codebooks(quantised, grid=(1, 1))[:, 0, 0]
    return apply(model.networks.decoder, variables["params"]["decoder"], z)


def predict(
    model: Model,
    variables: Variables,
    one_hot: Float[Array, "b n k"],
    action: Action,
    key: PRNGKeyArray | None,
    identity_graph: bool = False,
) -> Transition:
    """The transition layer's prediction; `key` has no effect with deterministic gates."""
    key = None if model.config.gates == "deterministic" else key
    options = {"key": key, "identity_graph": identity_graph}
    layer, params = model.networks.transition, variables["params"]["transition"]
    return apply(layer, params, one_hot, action, **options)


def temperature(variables: Variables) -> Float[Array, ""]:
    """Of the softmin over the distances of actions."""
    return jnp.exp(variables["params"]["retrieval"]["log_temperature"])


def log_probabilities(
    model: Model,
    variables: Variables,
    logits: Float[Array, "b a n k"],
    target: Float[Array, "b n k"],
) -> Float[Array, "b a"]:
    """Log probability of each action, from the codes predicted under it and the codes of y."""
    over_nodes = model.config.retrieval.over_nodes
    distances = retrieve.code_distances(logits, target, over_nodes=over_nodes)
    return retrieve.action_log_probabilities(distances, temperature=temperature(variables))


# Losses


def autoencoder_terms(
    model: Model,
    variables: Variables,
    images: Float[Array, "b h w c"],
    reconstructed: int,
    axis_name: str | None,
) -> tuple[Scalars, Float[Array, "b n k"], Float[Array, "b n e"], Scalars]:
    """Terms of the autoencoder, one-hot codes that carry a gradient, latents, and metrics.

    Only the first `reconstructed` images are decoded.
    """
    codes, vectors = model.config.codes, codebooks(variables)
    h = latents(model, variables, images)
    q = quantize.nearest_code(h, vectors)
    codebook, commitment = quantize.quantisation_losses(h, quantize.lookup(q, vectors))
    log_soft = quantize.log_assignment(h, vectors, temperature=codes.assignment_temperature)
    soft = jnp.exp(log_soft)
    one_hot = quantize.straight_through_one_hot(q, soft).reshape(len(images), h.shape[1], -1)
    carried = quantize.lookup_one_hot(one_hot[:reconstructed], vectors)
    logits = pixel_logits(model, variables, carried)
    terms = {
        "reconstruction": reconstruction.cross_entropy(logits, images[:reconstructed]),
        "codebook": codebook,
        "commitment": commitment,
        "usage": code_terms.unused_codes(soft, axis_name=axis_name),
        "doubt": code_terms.uncertain_codes(soft, log_soft),
    }
    counts = quantize.code_counts(q, num_codes=codes.num_codes, axis_name=axis_name)
    metrics = {"codes_used": quantize.perplexity(counts).mean() / codes.num_codes}
    return terms, one_hot, h[:, :, 0], metrics


def transition_terms(
    model: Model,
    variables: Variables,
    x: Float[Array, "b n k"],
    y: Float[Array, "b n k"],
    label: Int[Array, " b"],
    key: PRNGKeyArray,
    trust: Float[Array, ""] | float = 1.0,
    identity_graph: bool = False,
) -> tuple[Scalars, Float[Array, "b n k"], Belief, Scalars]:
    """Terms of retrieval and prediction, predicted logits of y's codes, beliefs, and metrics.

    Every pair is used in both directions: which action leads from x to y, and which codes follow?
    """
    pairs = len(x)
    x, y = jnp.concatenate([x, y]), jnp.concatenate([y, x])
    every = predict(model, variables, x, "all", key, identity_graph)
    log_p = log_probabilities(model, variables, every.logits, y)
    belief = action_labels.believe(
        model.config.action_labels, label, log_p[:pairs], log_p[pairs:], trust
    )
    action, weight = _both_ways(model, belief.action), jnp.tile(belief.weight, 2)
    acted = Transition(*(_of_action(part, action) for part in every))
    terms = transition.graph_terms(acted.edges, acted.graph, rate=model.config.edge_rate) | {
        "mask": acted.mask.mean(),
        "retrieval": transition.retrieval_loss(log_p, action, weight),
        # Targets are fixed: the codes of y must not move towards the prediction.
        "action": transition.node_cross_entropy(acted.logits, jax.lax.stop_gradient(y), weight),
    }
    metrics = {
        "retrieval_accuracy": transition.retrieval_accuracy(log_p, _both_ways(model, label)),
        "temperature": temperature(variables),
        "nodes_hit": acted.mask.sum(-1).mean(),
    }
    return terms, acted.logits[:pairs], belief, metrics


def _both_ways(model: Model, action: Int[Array, " b"]) -> Int[Array, " 2b"]:
    """The actions, then those of the reversed pairs; `UNKNOWN` stays so."""
    back = opposite(action, model.info.num_factors)
    return jnp.concatenate([action, jnp.where(action == UNKNOWN, UNKNOWN, back)])


def _of_action(x: Float[Array, "b a ..."], action: Int[Array, " b"]) -> Float[Array, "b ..."]:
    """`x[b, action[b]]`."""
    index = action.reshape(-1, *[1] * (x.ndim - 1))
    return jnp.take_along_axis(x, index, axis=1)[:, 0]


def image_term(
    model: Model,
    variables: Variables,
    logits: Float[Array, "b n k"],
    target: Float[Array, "b h w c"],
    weight: Float[Array, " b"],
) -> Float[Array, ""]:
    """Cross-entropy of decoded predicted codes (hard forward, soft backward) against images.

    The mean over images times their weights.
    """
    soft = jax.nn.softmax(logits, axis=-1)
    one_hot = quantize.straight_through_one_hot(jnp.argmax(logits, axis=-1), soft)
    vectors = quantize.lookup_one_hot(one_hot, codebooks(variables))
    output = pixel_logits(model, variables, vectors)
    losses = jax.vmap(reconstruction.cross_entropy)(output[:, None], target[:, None])
    return jnp.mean(weight * losses)


def consistency_term(
    model: Model, variables: Variables, one_hot: Float[Array, "b n k"], key: PRNGKeyArray
) -> Float[Array, ""]:
    """How badly the encoder reads the codes of images that the decoder draws of recombined codes.

    Each node takes its code from another image of the batch. Cross-entropy of the soft assignments
    against these codes, mean over nodes; it trains the encoder alone.
    """
    fixed = jax.lax.stop_gradient(variables)
    codes, vectors = jax.lax.stop_gradient(one_hot), codebooks(fixed)
    shifts = jax.random.randint(key, codes.shape[1:2], 0, len(codes))
    codes = jax.vmap(functools.partial(jnp.roll, axis=0), (1, 0), 1)(codes, shifts)
    drawn = pixel_logits(model, fixed, quantize.lookup_one_hot(codes, vectors))
    h = latents(model, variables, 2 * jax.nn.sigmoid(drawn) - 1)
    temperature = model.config.codes.assignment_temperature
    log_soft = quantize.log_assignment(h, vectors, temperature=temperature)
    return -jnp.mean(jnp.sum(codes * log_soft[:, :, 0], axis=-1))


def ramp(step: Int[Array, ""], between: tuple[int, int]) -> Float[Array, ""]:
    """0 up to the first of two steps, 1 from the second on, linear in between."""
    begin, end = between
    return jnp.clip((step - begin) / max(end - begin, 1), 0.0, 1.0)


def weighted_sum(model: Model, terms: Scalars, step: Int[Array, ""]) -> Float[Array, ""]:
    """The loss: terms times `weights` times `ramps`."""
    factors = {name: ramp(step, between) for name, between in model.config.ramps.items()}
    weights = model.config.weights
    value = sum(factors.get(name, 1.0) * weights[name] * term for name, term in terms.items())
    return jnp.asarray(value)


def joint_loss(
    model: Model, variables: Variables, batch: Batch, context: Context
) -> tuple[Float[Array, ""], Aux]:
    """Of stage "joint": autoencoder and transitions of pairs of images."""
    step, axis_name = context.step, context.axis_name
    images = from_uint8(jnp.concatenate([batch["x"]["image"], batch["y"]["image"]]))
    pairs = len(images) // 2
    terms, one_hot, h, metrics = autoencoder_terms(model, variables, images, pairs, axis_name)
    # An untrained transition layer has nothing to teach the codes; its influence on them grows.
    influence = ramp(step, model.config.ramps.transitions)
    fixed = jax.lax.stop_gradient(one_hot)
    x, y = jnp.split(fixed + influence * (one_hot - fixed), 2)
    mix_key, key = jax.random.split(context.key)
    trust = ramp(step, model.config.action_labels.ramp)
    more, logits, belief, seen = transition_terms(
        model, variables, x, y, batch["action"], key, trust, identity_graph=True
    )
    terms |= more
    num_factors = model.info.num_factors
    before, after = jnp.split(h, 2)
    terms["sharing"] = transition.node_sharing(
        before,
        after,
        factor_of(belief.action, num_factors),
        weight=belief.weight,
        num_factors=num_factors,
        axis_name=axis_name,
    )
    if model.config.weights.consistency:
        terms["consistency"] = consistency_term(model, variables, one_hot[:pairs], mix_key)
    if model.config.weights.image:
        terms["image"] = influence * image_term(
            model, variables, logits, images[pairs:], belief.weight
        )
    return weighted_sum(model, terms, step), Aux(terms | metrics | seen, {})


def transition_loss(
    model: Model, variables: Variables, batch: Batch, context: Context
) -> tuple[Float[Array, ""], Aux]:
    """Of stage "transition": frozen codes; with `weights.image` the decoder is trained as well."""
    num_codes = model.config.codes.num_codes
    x, y = (jax.nn.one_hot(batch[side]["codes"], num_codes) for side in ("x", "y"))
    terms, logits, belief, metrics = transition_terms(
        model, variables, x, y, batch["action"], context.key
    )
    if model.config.weights.image:
        target = from_uint8(batch["y"]["image"])
        terms["image"] = image_term(model, variables, logits, target, belief.weight)
        vectors = quantize.lookup_one_hot(y, codebooks(variables))
        output = pixel_logits(model, variables, vectors)
        terms["reconstruction"] = reconstruction.cross_entropy(output, target)
    counts = jnp.einsum("pa,pnk->ank", jax.nn.one_hot(belief.action, model.info.num_actions), x)
    if context.axis_name is not None:
        counts = jax.lax.psum(counts, context.axis_name)
    seen = {"counts": variables["seen"]["counts"] + counts}
    return weighted_sum(model, terms, context.step), Aux(terms | metrics, {"seen": seen})


# What a trained model does


def possible(variables: Variables, one_hot: Float[Array, "b n k"]) -> Bool[Array, "b a"]:
    """Which actions are possible: those that training has seen on all of these codes.

    At the end of its range a factor cannot go on, and what the model would predict is arbitrary. A
    code speaks against an action if it came with it less than a tenth as often as by chance.
    """
    counts = variables["seen"]["counts"]
    chance = counts.sum((1, 2)) / jnp.maximum(counts.sum(), 1)
    share = counts / jnp.maximum(counts.sum(0), 1)
    against = (share < chance[:, None, None] / 10) & (counts.sum(0) > 0)
    return ~(jnp.einsum("bnk,ank->ba", one_hot, against.astype(one_hot.dtype)) > 0)


def encode(
    model: Model,
    variables: Variables,
    images: UInt8[Array, "b h w c"],
    values: Float[Array, "b f"] | None = None,
) -> Representation:
    """Codes, int32 `[B, N]`, and their vectors, `[B, N * E]`; labels are not used."""
    del values
    vectors = codebooks(variables)
    q = quantize.nearest_code(latents(model, variables, from_uint8(images)), vectors)
    quantised = quantize.lookup(q, vectors)
    return {"codes": q.reshape(len(q), -1), "vectors": quantised.reshape(len(q), -1)}


def precompute_codes(
    model: Model, variables: Variables, images: UInt8[Array, "b h w c"]
) -> dict[str, Array]:
    """The column "codes" of the last stage."""
    return {"codes": encode(model, variables, images)["codes"]}


def one_hot_codes(
    model: Model, variables: Variables, images: UInt8[Array, "b h w c"]
) -> Float[Array, "b n k"]:
    """The codes of images, one-hot."""
    return jax.nn.one_hot(encode(model, variables, images)["codes"], model.config.codes.num_codes)


def decode(
    model: Model, variables: Variables, representation: Representation
) -> Float[Array, "b h w c"]:
    """Images in [-1, 1]: the expected pixels."""
    vectors, codes = representation["vectors"], model.config.codes
    quantised = vectors.reshape(len(vectors), codes.num_codebooks, -1, codes.code_dim)
    return 2 * jax.nn.sigmoid(pixel_logits(model, variables, quantised)) - 1


def retrieve_action(
    model: Model,
    variables: Variables,
    x: UInt8[Array, "b h w c"],
    y: UInt8[Array, "b h w c"],
) -> Float[Array, "b a"]:
    """Probability of each action between two images."""
    every = predict(model, variables, one_hot_codes(model, variables, x), "all", model.gate_key)
    target = one_hot_codes(model, variables, y)
    return jnp.exp(log_probabilities(model, variables, every.logits, target))


def retrieve_steps(
    model: Model,
    variables: Variables,
    x: UInt8[Array, "b h w c"],
    y: UInt8[Array, "b h w c"],
    *,
    max_steps: int,
    width: int,
) -> retrieve.Steps:
    """The actions that lead from x to y, in any number up to `max_steps`. Ours."""
    before, after = (one_hot_codes(model, variables, images) for images in (x, y))
    return retrieve.search_steps(
        lambda codes: predict(model, variables, codes, "all", model.gate_key).logits,
        functools.partial(possible, variables),
        before,
        after,
        sizes=model.info.factor_sizes,
        circular=model.info.circular,
        max_steps=max_steps,
        width=width,
        price=temperature(variables) * math.log(model.info.num_actions),
    )


def intervene(
    model: Model,
    variables: Variables,
    images: UInt8[Array, "b h w c"],
    action: Int[Array, "b *k"],
) -> Float[Array, "b h w c"]:
    """Images after the actions on each, decoded: each action leads to its most likely codes."""
    one_hot = one_hot_codes(model, variables, images)
    for of_each in action.reshape(len(images), -1).T:
        after = predict(model, variables, one_hot, of_each, model.gate_key).logits[:, 0]
        one_hot = jax.nn.one_hot(jnp.argmax(after, axis=-1), model.config.codes.num_codes)
    vectors = quantize.lookup_one_hot(one_hot, codebooks(variables))
    return decode(model, variables, {"vectors": vectors.reshape(len(images), -1)})


def describe(
    model: Model,
    variables: Variables,
    images: UInt8[Array, "b h w c"],
    action: Int[Array, " b"],
) -> ActionGraph:
    """The nodes that an action hits, and the edges with and without it."""
    one_hot = one_hot_codes(model, variables, images)
    acted = predict(model, variables, one_hot, action, model.gate_key)
    idle = predict(model, variables, one_hot, "none", model.gate_key)
    return ActionGraph(acted.mask[:, 0], acted.edges[:, 0], idle.edges[:, 0])
