"""CT-VAE: causal transitions between the codes of a vector-quantised autoencoder.

Gendron, Witbrock and Dobbie, "Disentanglement of Latent Representations via (Sparse) Causal
Interventions", arXiv 2302.00869 (IJCAI 2023). An image becomes N codes out of K; the codes are the
nodes of a causal graph; an action rewires the edges into the nodes that it hits. Trained in
stages, it applies actions to images (`intervene`) and tells which action lies between two
(`retrieve`).

    stage "autoencoder"  MCQ-VAE: images -> codes -> images; or, with the switch `joint`,
    stage "joint"        the same with transitions, which then shape the codes
    stage "transition"   on integer codes, computed once for every image, since they are frozen

Departures from the paper. Each is a switch of `config.model`; the published value is in brackets.
The README has the effect measured of the main ones.

    joint               transitions shape the codes, through straight-through assignments of both
                        images' codes  [False: the autoencoder is trained alone]
    joint_graph         in that stage every node's code must be foretold from its own code and the
                        action alone, which makes codes autonomous  [no such stage]
    weights.sharing     and two factors are not to move the same node  [0]
    modes               every batch serves retrieval and prediction  ["alternating": base, action
                        and retrieval mode in turn]
    reverse             each pair is also shown from y to x with the opposite action  [False]
    retrieval           evidence is summed over nodes  ["mean"]; a temperature may be learned  [1]
    gates               deterministic: on where the probability is above one half  ["stochastic"]
    transition.mask     a free logit for each (action, node, code)  ["additive", which cannot select
                        by action and node]
    transition.mask_start, .edge_start  at first most nodes are hit, and no edges exist  [0, 0]
    weights.mask        a hit has its price, so that an action hits few nodes  [0]
    transition.copy     a node that is not hit and has no hit parent keeps its code  [False]
    transition.mechanism, .embedding    each node has a mechanism and vectors of its own
                        ["shared", 0]
    autoencoder.kind    every code sees the whole image; images are drawn as sums of separable
                        terms  ["grid" of patches, convolutions]
    reconstruction      binary cross-entropy  ["squared_error"]
    weights.image       predicted codes, decoded, must draw y  [0]
    codes.gradient      the encoder learns through soft assignments to codes  ["copy": the
                        gradient of the code's vector is handed to the encoder's output]
    weights.usage, .doubt   codes in use on the whole, certain on each image  [0, 0]

Not switchable, because the published form is a slip: codebooks cut channels into disjoint chunks;
no activation stands between encoder and quantiser; `adjacency[i, j]` is the edge into i from j
everywhere; the edge prior has a fixed rate.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from cdis.data.examples import IMAGES, PAIRS
from cdis.data.info import Info
from cdis.errors import UserError
from cdis.methods.base import (
    ActionGraph,
    Actions,
    Aux,
    Batch,
    Codes,
    Method,
    Objective,
    Stage,
    Variables,
)
from cdis.networks import autoencoder
from cdis.networks.causal_transition import CausalTransition, DenseTransition, Transition
from cdis.objectives import reconstruction, transition
from cdis.ops import quantize, retrieve
from cdis.ops.images import from_uint8

Metrics = dict[str, Array]


class Networks(NamedTuple):
    """The modules, and the shape of the codes between them."""

    encoder: autoencoder.GridEncoder | autoencoder.CompactEncoder
    decoder: autoencoder.GridDecoder | autoencoder.CompactDecoder
    transition: CausalTransition | DenseTransition
    grid: tuple[int, int]  #: latent places (H, W)


#: What the switches of `config.model` may say.
SWITCHES = {
    "joint_graph": ("identity", "learned"),
    "modes": ("together", "alternating"),
    "gates": ("deterministic", "stochastic"),
    "reconstruction": ("cross_entropy", "squared_error"),
    "autoencoder.kind": ("compact", "grid"),
    "codes.gradient": ("assignment", "copy"),
    "transition.kind": ("graph", "dense"),
    "transition.mask": ("table", "additive"),
    "transition.mechanism": ("per_node", "shared"),
    "transition.noise": ("off", "exo", "endo"),
    "retrieval.over_nodes": ("sum", "mean"),
}


def make(config: ConfigDict, info: Info) -> Method:
    """CT-VAE for images and actions of `info`, as `config.model` says.

    Raises `UserError` for a switch set to what it does not know, and for a grid of latents that the
    images do not divide into.
    """
    _check(config.model)
    model, codes, weights = config.model, config.model.codes, config.model.weights
    networks = _networks(model, info)
    num_nodes = codes.num_codebooks * math.prod(networks.grid)
    moving_average = codes.decay > 0

    def init(key: PRNGKeyArray, batch: Batch) -> Variables:
        keys = jax.random.split(key, 4)
        image = from_uint8(batch["x"]["image"])
        encoder: Any = networks.encoder.init(keys[0], image)["params"]
        latent = _apply(networks.encoder, {"params": encoder}, image)
        if model.autoencoder.kind == "compact":
            encoder = autoencoder.spread(encoder, latent)
        one_hot = jnp.zeros((len(image), num_nodes, codes.num_codes)).at[..., 0].set(1.0)
        shape = (codes.num_codebooks, codes.num_codes, codes.code_dim)
        vectors = codes.initial_scale * jax.random.normal(keys[3], shape)
        params = {
            "encoder": encoder,
            "decoder": networks.decoder.init(keys[1], latent)["params"],
            "transition": networks.transition.init(keys[2], one_hot, "all")["params"],
            "retrieval": {"log_temperature": jnp.log(jnp.float32(model.retrieval.temperature))},
        }
        if not moving_average:
            return {"params": params | {"codebook": {"vectors": vectors}}}
        counts = jnp.ones(shape[:2])
        return {
            "params": params,
            "codebook": {"vectors": vectors, "counts": counts, "sums": vectors * counts[..., None]},
        }

    def codebooks(variables: Variables) -> Float[Array, "c k e"]:
        home = variables if moving_average else variables["params"]
        return home["codebook"]["vectors"]

    def latents(variables: Variables, images: Float[Array, "b h w c"]) -> Float[Array, "b c m e"]:
        h = _apply(networks.encoder, {"params": variables["params"]["encoder"]}, images)
        h = h.reshape(len(images), *networks.grid, -1)
        return quantize.split_codebooks(h, num_codebooks=codes.num_codebooks)

    def pixels(variables: Variables, quantised: Float[Array, "b c m e"]) -> Array:
        """Decoder output: logits for the cross-entropy, else images."""
        z = quantize.merge_codebooks(quantised, grid=networks.grid)
        if networks.grid == (1, 1):
            z = z[:, 0, 0]
        return _apply(networks.decoder, {"params": variables["params"]["decoder"]}, z)

    def vectors_of(variables: Variables, one_hot: Float[Array, "b n k"]) -> Array:
        """Vectors of (straight-through) one-hot codes, as the decoder takes them."""
        one_hot = one_hot.reshape(len(one_hot), codes.num_codebooks, -1, codes.num_codes)
        return jnp.einsum("bcmk,cke->bcme", one_hot, codebooks(variables))

    def predict(variables: Variables, one_hot, action, key, identity_graph=False) -> Transition:
        params = {"params": variables["params"]["transition"]}
        key = None if model.gates == "deterministic" else key
        options = {"key": key, "identity_graph": identity_graph}
        return _apply(networks.transition, params, one_hot, action, **options)

    def redraw_loss(output: Array, target: Array) -> Array:
        if model.reconstruction == "cross_entropy":
            return reconstruction.cross_entropy(output, target)
        return reconstruction.squared_error(output, target)

    def autoencoder_terms(variables, images, redrawn, key, axis_name):
        """MCQ-VAE's losses, one-hot codes that carry a gradient, latents, and the new codebooks.

        Only the first `redrawn` images are reconstructed.
        """
        h = latents(variables, images)
        vectors = codebooks(variables)
        q = quantize.nearest_code(h, vectors)
        quantised = quantize.lookup(q, vectors)
        codebook, commitment = quantize.quantisation_losses(h, quantised)
        log_soft = jax.nn.log_softmax(
            quantize.negative_distances(h, vectors) / codes.assignment_temperature, axis=-1
        )
        soft = jnp.exp(log_soft)
        hard = jax.nn.one_hot(q, codes.num_codes, dtype=soft.dtype)
        one_hot = quantize.straight_through(hard, soft).reshape(len(images), num_nodes, -1)
        if codes.gradient == "assignment":
            carried = vectors_of(variables, one_hot[:redrawn])
        else:
            carried = quantize.straight_through(quantised[:redrawn], h[:redrawn])
        usage = soft.mean((0, 2))
        if axis_name is not None:
            usage = jax.lax.pmean(usage, axis_name)
        terms = {
            "reconstruction": redraw_loss(pixels(variables, carried), images[:redrawn]),
            "codebook": codebook,
            "commitment": commitment,
            # Together the two are what a code does not tell of its image: diverse on the whole,
            # certain on each.
            "usage": math.log(codes.num_codes) - quantize.usage_entropy(usage).mean(),
            "doubt": -jnp.mean(jnp.sum(soft * log_soft, axis=-1)),
        }
        counts = quantize.code_counts(q, num_codes=codes.num_codes, axis_name=axis_name)
        used = quantize.perplexity(counts).mean() / codes.num_codes
        return (
            terms,
            one_hot,
            h.reshape(len(images), num_nodes, -1),
            {"codes_used": used},
            renewed(variables, key, h, q, counts, axis_name),
        )

    def renewed(variables, key, h, q, counts, axis_name) -> Variables:
        """Codebooks kept by moving average, dead codes restarted; nothing otherwise."""
        if not moving_average:
            return {}
        old, h = variables["codebook"], jax.lax.stop_gradient(h)
        sums = quantize.code_sums(h, q, num_codes=codes.num_codes, axis_name=axis_name)
        vectors, mean_counts, mean_sums = quantize.moving_average_codebook(
            old["counts"], old["sums"], counts, sums, decay=codes.decay
        )
        if codes.restart_below > 0:
            vectors, dead = quantize.restart_dead_codes(
                key, vectors, mean_counts, h, threshold=codes.restart_below
            )
            mean_counts = jnp.where(dead > 0, 1.0, mean_counts)
            mean_sums = jnp.where(dead[..., None] > 0, vectors, mean_sums)
        return {"codebook": {"vectors": vectors, "counts": mean_counts, "sums": mean_sums}}

    def log_probabilities(variables, logits, target):
        distances = retrieve.code_distances(logits, target, over_nodes=model.retrieval.over_nodes)
        temperature = jnp.exp(variables["params"]["retrieval"]["log_temperature"])
        return retrieve.action_log_probabilities(distances, temperature=temperature)

    def retrieval_terms(variables, log_p, action):
        chosen = jnp.take_along_axis(log_p, action[:, None], axis=1)
        accuracy = jnp.mean(jnp.argmax(log_p, axis=-1) == action)
        temperature = jnp.exp(variables["params"]["retrieval"]["log_temperature"])
        return -jnp.mean(chosen), {"retrieval_accuracy": accuracy, "temperature": temperature}

    def graph_terms(seen: Transition):
        return {
            "edge_prior": transition.edge_divergence(seen.edges, rate=model.edge_rate),
            "graph_size": transition.graph_size(seen.graph),
            "orphans": transition.orphan_penalty(seen.edges),
            "mask": seen.mask.mean(),
        }

    def together(
        variables, x, y, action, key, identity_graph=False
    ) -> tuple[Metrics, Array, Metrics]:
        """Every pair asks which action it is, and what its action does."""
        pairs = len(x)
        if model.reverse:
            x, y = jnp.concatenate([x, y]), jnp.concatenate([y, x])
            action = jnp.concatenate([action, (action + info.num_factors) % info.num_actions])
        every = predict(variables, x, "all", key, identity_graph)
        log_p = log_probabilities(variables, every.logits, y)
        retrieval, metrics = retrieval_terms(variables, log_p, action)
        ours = Transition(*(_of_action(part, action) for part in every))
        terms = graph_terms(ours) | {
            "retrieval": retrieval,
            # Targets are fixed: what is to be predicted must not move towards the prediction.
            "action": transition.node_cross_entropy(ours.logits, jax.lax.stop_gradient(y)),
        }
        metrics["nodes_hit"] = ours.mask.sum(-1).mean()
        return terms, ours.logits[:pairs], metrics

    def alternating(variables, x, y, action, key, step) -> tuple[Metrics, Metrics]:
        """Published: a batch has one mode; base, action and retrieval take turns."""

        def base(key):
            free = predict(variables, x, "none", key)
            fixed = _apply(
                networks.transition,
                {"params": variables["params"]["transition"]},
                x,
                "none",
                key=key,
                identity_graph=True,
            )
            still = transition.node_cross_entropy(fixed.logits[:, 0], x)
            return {
                "base": transition.node_cross_entropy(free.logits[:, 0], x),
                "identity": still + transition.identity_distance(free.graph),
            }

        def act(key):
            seen = predict(variables, x, action, key)
            seen = Transition(*(part[:, 0] for part in seen))
            return graph_terms(seen) | {
                "action": transition.node_cross_entropy(seen.logits, y),
            }

        def causal(key):
            log_p = log_probabilities(variables, predict(variables, x, "all", key).logits, y)
            retrieval, metrics = retrieval_terms(variables, log_p, action)
            return {"retrieval": retrieval} | metrics

        modes: tuple[Callable, ...] = (base, act, causal)
        shapes = [jax.eval_shape(mode, key) for mode in modes]
        names = {name: shape for found in shapes for name, shape in found.items()}

        def padded(mode):
            zeros = {name: jnp.zeros(s.shape, s.dtype) for name, s in names.items()}
            return lambda key: zeros | mode(key)

        terms = jax.lax.switch(step % 3, [padded(mode) for mode in modes], key)
        # Each mode is seen in a third of the batches: the log shows its mean when it is.
        metrics = {name: 3 * terms.pop(name) for name in ("retrieval_accuracy", "temperature")}
        return terms, metrics

    def total(terms: Metrics, metrics: Metrics, new: Variables, step: Array) -> tuple[Array, Aux]:
        say = {name: _ramp(step, between) for name, between in model.ramps.items()}
        value = sum(say.get(name, 1.0) * weights[name] * term for name, term in terms.items())
        return jnp.asarray(value), Aux(terms | metrics, new)

    def image_term(variables, logits, target):
        """Predicted codes, exact forward and soft backward, decoded and compared with y."""
        soft = jax.nn.softmax(logits, axis=-1)
        hard = jax.nn.one_hot(jnp.argmax(logits, axis=-1), codes.num_codes, dtype=soft.dtype)
        drawn = vectors_of(variables, quantize.straight_through(hard, soft))
        return redraw_loss(pixels(variables, drawn), target)

    def apart_loss(variables, batch, context):
        key, step, axis_name = context
        images = from_uint8(batch["x"]["image"])
        terms, *_, metrics, new = autoencoder_terms(variables, images, len(images), key, axis_name)
        return total(terms, metrics, new, step)

    def joint_loss(variables, batch, context):
        key, step, axis_name = context
        images = from_uint8(jnp.concatenate([batch["x"]["image"], batch["y"]["image"]]))
        keys = jax.random.split(key)
        terms, one_hot, h, metrics, new = autoencoder_terms(
            variables, images, len(images) // 2, keys[0], axis_name
        )
        # A fresh transition layer has nothing to teach the codes; its say grows with time.
        say = _ramp(step, model.ramps.transitions)
        fixed = jax.lax.stop_gradient(one_hot)
        x, y = jnp.split(fixed + say * (one_hot - fixed), 2)
        identity = model.joint_graph == "identity"
        more, logits, seen = together(variables, x, y, batch["action"], keys[1], identity)
        terms |= more
        before, after = jnp.split(h, 2)
        terms["sharing"] = transition.node_sharing(
            before,
            after,
            batch["action"] % info.num_factors,
            num_factors=info.num_factors,
            axis_name=axis_name,
        )
        if weights.image:
            terms["image"] = say * image_term(variables, logits, images[len(x) :])
        return total(terms, metrics | seen, new, step)

    def transition_loss(variables, batch, context):
        key, step, axis_name = context
        del axis_name
        x, y = (jax.nn.one_hot(batch[side]["codes"], codes.num_codes) for side in ("x", "y"))
        if model.modes == "alternating":
            return total(*alternating(variables, x, y, batch["action"], key, step), {}, step)
        terms, logits, metrics = together(variables, x, y, batch["action"], key)
        if weights.image:
            target = from_uint8(batch["y"]["image"])
            terms["image"] = image_term(variables, logits, target)
            drawn = pixels(variables, vectors_of(variables, y))
            terms["reconstruction"] = redraw_loss(drawn, target)
        return total(terms, metrics, {}, step)

    def encode(
        variables: Variables, images: UInt8[Array, "b h w c"], values: Array | None = None
    ) -> dict[str, Array]:
        del values
        vectors = codebooks(variables)
        q = quantize.nearest_code(latents(variables, from_uint8(images)), vectors)
        quantised = quantize.lookup(q, vectors)
        return {"codes": q.reshape(len(q), -1), "vectors": quantised.reshape(len(q), -1)}

    def one_hot_codes(variables, images):
        return jax.nn.one_hot(encode(variables, images)["codes"], codes.num_codes)

    def decode(variables: Variables, representation: dict[str, Array]) -> Array:
        vectors = representation["vectors"]
        shape = (len(vectors), codes.num_codebooks, -1, codes.code_dim)
        output = pixels(variables, vectors.reshape(shape))
        return 2 * jax.nn.sigmoid(output) - 1 if model.reconstruction == "cross_entropy" else output

    # Published gates are drawn; in evaluation always from the same key.
    gate_key = jax.random.key(config.seed)

    def retrieve_action(variables: Variables, x: Array, y: Array) -> Float[Array, "b a"]:
        every = predict(variables, one_hot_codes(variables, x), "all", gate_key)
        return jnp.exp(log_probabilities(variables, every.logits, one_hot_codes(variables, y)))

    def intervene(variables: Variables, images: Array, action: Int[Array, " b"]) -> Array:
        after = predict(variables, one_hot_codes(variables, images), action, gate_key).logits[:, 0]
        chosen = jax.nn.one_hot(jnp.argmax(after, axis=-1), codes.num_codes)
        vectors = vectors_of(variables, chosen)
        return decode(variables, {"vectors": vectors.reshape(len(images), -1)})

    def describe(variables: Variables, images: Array, action: Int[Array, " b"]) -> ActionGraph:
        one_hot = one_hot_codes(variables, images)
        acted = predict(variables, one_hot, action, gate_key)
        idle = predict(variables, one_hot, "none", gate_key)
        return ActionGraph(acted.mask[:, 0], acted.edges[:, 0], idle.edges[:, 0])

    drawn = model.modes == "together" and weights.image > 0
    second_parts = {"transition", "retrieval", "decoder"} if drawn else {"transition", "retrieval"}
    fixed = set() if model.retrieval.learned_temperature else {"retrieval"}
    first = Stage(
        name="autoencoder",
        rows=IMAGES,
        columns=("image",),
        objectives=(
            Objective(apart_loss, lambda path: path[0] in {"encoder", "decoder", "codebook"}),
        ),
    )
    joint = Stage(
        name="joint",
        rows=PAIRS,
        columns=("image",),
        objectives=(Objective(joint_loss, lambda path: path[0] not in fixed),),
    )
    second = Stage(
        name="transition",
        rows=PAIRS,
        columns=("codes", "image") if drawn else ("codes",),
        objectives=(Objective(transition_loss, lambda path: path[0] in second_parts - fixed),),
        precompute=lambda variables, images: {"codes": encode(variables, images)["codes"]},
    )
    return Method(
        init=init,
        stages=(joint if model.joint else first, second),
        encode=encode,
        decode=decode,
        codes=Codes(codes.num_codes, codes.num_codebooks),
        actions=Actions(retrieve_action, intervene, describe),
    )


def _ramp(step: Array, between: tuple[int, int]) -> Array:
    """0 up to the first of two steps, 1 from the second on."""
    begin, end = between
    return jnp.clip((step - begin) / max(end - begin, 1), 0.0, 1.0)


def _apply(module: nn.Module, *args: Any, **options: Any) -> Any:
    """`module.apply`, whose declared result also covers calls that change variables."""
    return module.apply(*args, **options)


def _of_action(x: Array, action: Int[Array, " b"]) -> Array:
    """`x[b, action[b]]` of an array `[B, A, ...]`."""
    index = action.reshape(-1, *[1] * (x.ndim - 1))
    return jnp.take_along_axis(x, index, axis=1)[:, 0]


def _check(model: ConfigDict) -> None:
    for name, allowed in SWITCHES.items():
        value = model
        for part in name.split("."):
            value = value[part]
        if value not in allowed:
            raise UserError(
                f"config.model.{name} is {value!r}, but must be one of {', '.join(allowed)}."
            )
    if model.transition.noise != "off" and model.gates == "deterministic":
        raise UserError(
            f"config.model.transition.noise is {model.transition.noise!r}, but deterministic gates "
            "leave no room for noise. Set config.model.gates to 'stochastic' or the noise to 'off'."
        )


def _networks(model: ConfigDict, info: Info) -> Networks:
    shape, codes, parts = info.image_shape, model.codes, model.autoencoder
    latent = codes.num_codebooks * codes.code_dim
    if parts.kind == "grid":
        stride = 2 ** len(parts.widths)
        if shape[0] % stride or shape[1] % stride:
            raise UserError(
                f"config.model.autoencoder.widths: {len(parts.widths)} stride-2 convolutions need "
                f"image sides divisible by {stride}, but {info.name} has images of {shape}"
            )
        grid = (shape[0] // stride, shape[1] // stride)
        encoder = autoencoder.GridEncoder(tuple(parts.widths), parts.residual_blocks, latent)
        decoder = autoencoder.GridDecoder(tuple(parts.widths), parts.residual_blocks, shape[2])
    else:
        grid = (1, 1)
        encoder = autoencoder.CompactEncoder(parts.patch, parts.width, parts.hidden, latent)
        decoder = autoencoder.CompactDecoder(tuple(parts.decoder_hidden), parts.decoder_rank, shape)
    layer = transition_layer(model, info, codes.num_codebooks * math.prod(grid))
    return Networks(encoder, decoder, layer, grid)


def transition_layer(
    model: ConfigDict, info: Info, num_nodes: int
) -> CausalTransition | DenseTransition:
    """The layer that `config.model.transition` describes, for the codes of `num_nodes` nodes."""
    shared: dict[str, Any] = dict(
        num_nodes=num_nodes, num_codes=model.codes.num_codes, num_actions=info.num_actions
    )
    if model.transition.kind == "dense":
        return DenseTransition(**shared, hidden=tuple(model.transition.dense_hidden))
    options = {k: v for k, v in model.transition.items() if k not in ("kind", "dense_hidden")}
    options["message_hidden"] = tuple(options["message_hidden"])
    return CausalTransition(**shared, **options)
