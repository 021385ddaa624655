"""CT-VAE as published: causal transitions between the codes of a vector-quantised autoencoder.

Gendron, Witbrock and Dobbie, "Disentanglement of Latent Representations via (Sparse) Causal
Interventions", arXiv 2302.00869 (IJCAI 2023). An image becomes N codes out of K, one for each place
of a grid and each codebook; the codes are the nodes of a causal graph; an action rewires the edges
into the nodes that it hits. Trained, the model applies actions to images (`intervene`) and infers
the action between two images (`retrieve`).

    stage "autoencoder"  MCQ-VAE: images -> codes -> images
    stage "transition"   on codes that are frozen and computed once; each batch is in base, action
                         or retrieval mode

Paper and code of the authors differ in places, and the code has slips. Where they differ, we do as
the code does, and a switch of `config.model` gives the other form; slips are corrected. "-": the
same as in the column to the left; "?": we know of no statement.

    item                paper          authors' code                   ours, and why if it differs
    ------------------  -------------  ------------------------------  -----------------------------
    images              ?              [0, 1], drawn by a tanh         - (`images`: on a black
                                                                       background [-1, 1] collapses)
    layers' start       ?              PyTorch's: uniform within       -
                                       fan_in ** -0.5, biases too;
                                       message layers Glorot's
    code vectors' start ?              uniform in (-1/K, 1/K)          - (`codes.start`: longer ones
                                                                       collapse as well)
    residual block      3x3, 1x1       no ReLU before the 3x3          -
    encoder's end       none           LeakyReLU on the latents        - (`autoencoder.
                                                                       last_activation`)
    LeakyReLU's slope   ?              .01; in attention .2            -
    codebook's slice    D/C channels   chunk c begins at channel c,    disjoint chunks: the overlap
                        each           so chunks overlap               leaves channels unquantised
    autoencoder's loss  sums of        means over elements; the code   -
                        squares        losses are added over codebooks
    position code       sinusoidal     after a dropout of .1, which    - (`transition.
                                       takes the code with it          position_dropout`); one draw
                                                                       for all actions of a pair
    mask                additive       additive in action and place    - (`transition.mask`)
    gates               sampled        drawn anew for each action,     - (`gates`), but evaluation
                                       from edge probabilities         takes the same draw each time
    gates' gradient     ?              straight through, as weights    -
                                       of edges; absent edges get none
    edges' direction    into i from j  reversed: the action node       the paper's: else no action
                                       reaches no node                 reaches a code
    weight of self-loop ?              mean of the edges into the node -
    identity graph      ?              weight 1                        -
    message layers      GATv2          biases in both maps and in the  -
                                       action's embedding
    edge prior          KL to a prior  KL from a softmax of random     - (`edge_prior`: "rate" is
                                       numbers to one of the edges     one that can be stated)
    graph size, orphans norms          means over images of norms      -
    retrieval           mean over      -                               - (`retrieval.over_nodes`)
                        nodes
    weight of retrieval gamma = 1.5    1                               1 (`weights.retrieval`)
    logarithms          log p          p at least 1e-4, renormalised;  - (`floor`), but a mask's
                                       p of gates and masks too        probability has no bound
    modes               base, action,  a batch has one, at random      - (`modes`)
                        retrieval
    optimiser           Adam, 5e-4     no weight decay                 - (AdamW without it)
    schedule            .98 and .994   an epoch of stage two has       an epoch is all pairs: with
                        per epoch      16,000 pairs                    many, the rate falls later
    batch               64; 16         -                               -

`experiments/ct_vae` says how long each training is.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from cdis.config import common, stage
from cdis.data.examples import IMAGES, PAIRS
from cdis.data.info import Info
from cdis.methods import diagnose, fitting
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
from cdis.methods.switches import check_noise, check_shares, check_switches
from cdis.networks import autoencoder
from cdis.networks.apply import apply
from cdis.networks.causal_transition import Action, CausalTransition, Transition
from cdis.networks.start import within
from cdis.objectives import reconstruction, transition
from cdis.ops import quantize, retrieve
from cdis.ops.images import from_uint8

Scalars = dict[str, Array]
#: `predict` of a model with its variables: called with codes, an action and a key
Predict = Callable[..., Transition]


def defaults() -> ConfigDict:
    """The complete config: as published but for the length, on coloured sprites."""
    config = common()
    config.method = "cdis.methods.ct_vae"
    config.data.name = "sprites2d/coloured"
    config.stages.autoencoder = stage(
        steps=500,
        batch_size=64,
        learning_rate=5e-4,
        schedule="exponential",
        decay_per_epoch=0.98,
    )
    config.stages.transition = stage(
        steps=2000,
        batch_size=16,
        learning_rate=5e-4,
        schedule="exponential",
        decay_per_epoch=0.994,
    )
    config.model = ConfigDict(
        {
            "images": "unit",  # what the autoencoder sees and draws: [0, 1] | "symmetric": [-1, 1]
            "gates": "stochastic",  # | "deterministic"
            "modes": "random",  # in which order batches have them | "in_turn"
            "edge_prior": "random",  # the authors' | "rate": of independent edges
            "edge_rate": 0.1,  # of the edge prior "rate"
            "floor": 1e-4,  # of predicted probabilities, in every logarithm; 0: none
            "autoencoder": {
                "widths": (64, 128, 256),  # one stride-2 convolution each
                "residual_blocks": 6,
                "last_activation": True,  # a LeakyReLU on the latents
            },
            "codes": {
                "num_codebooks": 1,
                "num_codes": 64,  # K
                "code_dim": 128,
                "start": "uniform",  # in (-1 / K, 1 / K) | "normal"
                "initial_scale": 0.1,  # standard deviation of initial code vectors if "normal"
                "decay": 0.0,  # of a moving-average codebook; 0: trained by gradient
                # Mean uses a step below which a code of a moving-average codebook restarts at a
                # random encoder output; 0: never.
                "restart_below": 0.0,
            },
            "transition": {
                "edge_hidden": 800,
                "message_hidden": (100,),  # of each head, one layer each
                "mask": "additive",  # | "table"
                "position_dropout": 0.1,
                "noise": "off",  # | "exo" | "endo", with stochastic gates
            },
            "retrieval": {"over_nodes": "mean"},  # | "sum"
            "weights": {
                "reconstruction": 1.0,
                "codebook": 1.0,
                "commitment": 0.25,
                "retrieval": 1.0,  # in the authors' code; by the paper's formula 1.5
                # gamma = 1.5 times 1, alpha_id, beta, delta and epsilon
                "base": 1.5,
                "identity": 0.015,
                "action": 1.5,
                "edge_prior": 0.6,
                "graph_size": 0.015,
                "orphans": 0.15,
            },
        }
    )
    return config


#: Overrides that make the networks tiny, on images that need no download.
SMOKE = {
    "data.name": "sprites2d/coloured",
    "stages.transition.steps": 3,  # one of each mode
    "model.modes": "in_turn",
    "model.autoencoder.widths": (8, 8, 8),
    "model.autoencoder.residual_blocks": 1,
    "model.codes.num_codes": 8,
    "model.codes.code_dim": 8,
    "model.transition.edge_hidden": 8,
    "model.transition.message_hidden": (8,),
}

#: The values that switches of `config.model` may take.
SWITCHES = {
    "images": ("unit", "symmetric"),
    "gates": ("stochastic", "deterministic"),
    "modes": ("random", "in_turn"),
    "edge_prior": ("random", "rate"),
    "codes.start": ("uniform", "normal"),
    "transition.mask": ("additive", "table"),
    "transition.noise": ("off", "exo", "endo"),
    "retrieval.over_nodes": ("mean", "sum"),
}


class Networks(NamedTuple):
    """The Flax modules, for C codebooks of vectors of size E."""

    encoder: nn.Module  #: images, float32 `[B, H, W, C]`, to latents `[B, I, J, C * E]`
    decoder: nn.Module  #: `[B, I, J, C * E]` to images
    transition: nn.Module  #: called as `CausalTransition` is, on N = C * I * J nodes
    grid: tuple[int, int]  #: I, J


class MakeNetworks(Protocol):
    """Networks for a complete config and a data set, as `make` is given them."""

    def __call__(self, config: ConfigDict, info: Info, /) -> Networks: ...


class Model(NamedTuple):
    """What every function of the method needs to know."""

    config: ConfigDict  #: `config.model` of the experiment
    info: Info
    networks: Networks
    gate_key: PRNGKeyArray  #: of stochastic gates outside training, and of the order of modes

    @property
    def num_nodes(self) -> int:
        """N."""
        return self.config.codes.num_codebooks * math.prod(self.networks.grid)

    @property
    def moving_average(self) -> bool:
        """Are codebooks moving averages, and not trained by gradient?"""
        return self.config.codes.decay > 0


def networks(config: ConfigDict, info: Info) -> Networks:
    """The networks that `config.model` describes."""
    codes, parts, shape = config.model.codes, config.model.autoencoder, info.image_shape
    stride = 2 ** len(parts.widths)
    grid = (-(-shape[0] // stride), -(-shape[1] // stride))
    blocks, latent = parts.residual_blocks, codes.num_codebooks * codes.code_dim
    options = config.model.transition.to_dict()
    options["message_hidden"] = tuple(options["message_hidden"])
    layer = CausalTransition(
        num_nodes=codes.num_codebooks * math.prod(grid),
        num_codes=codes.num_codes,
        num_actions=info.num_actions,
        **options,
    )
    return Networks(
        autoencoder.GridEncoder(tuple(parts.widths), blocks, latent, parts.last_activation),
        autoencoder.GridDecoder(tuple(parts.widths), blocks, shape),
        layer,
        grid,
    )


def make(config: ConfigDict, info: Info, networks: MakeNetworks = networks) -> Method:
    """CT-VAE for the images and actions of `info`, as `config.model` describes it.

    To use networks of your own, put this into a module and name it in `config.method`:

        from cdis.methods import ct_vae
        def networks(config, info):
            return ct_vae.networks(config, info)._replace(encoder=MyEncoder())
        def make(config, info):
            return ct_vae.make(config, info, networks=networks)

    Raises `UserError` for values of `config.model` that are not allowed.
    """
    check_switches(config.model, SWITCHES)
    check_noise(config.model)
    check_shares(config.model, ("floor", "transition.position_dropout"))
    key = jax.random.key(config.seed)
    model, bind = Model(config.model, info, networks(config, info), key), functools.partial
    first = Stage(
        name="autoencoder",
        rows=IMAGES,
        columns=("image",),
        objectives=(Objective(bind(autoencoder_loss, model), of_autoencoder),),
        diagnose=bind(
            diagnose.codes, num_codes=config.model.codes.num_codes, **why_one_code(config.model)
        ),
    )
    second = Stage(
        name="transition",
        rows=PAIRS,
        columns=("codes",),
        objectives=(Objective(bind(transition_loss, model), of_transition),),
        precompute=bind(precompute_codes, model),
    )
    return Method(
        init=bind(init, model),
        stages=(first, second),
        encode=bind(encode, model),
        decode=bind(decode, model),
        codes=Codes(config.model.codes.num_codes, config.model.codes.num_codebooks),
        actions=Actions(
            bind(retrieve_action, model),
            bind(intervene, model),
            bind(describe, model),
            bind(retrieve_steps, model),
        ),
        warnings=fitting.too_small(
            info, num_codes=config.model.codes.num_codes, num_nodes=model.num_nodes
        ),
    )


def why_one_code(config: ConfigDict) -> dict[str, str]:
    """Why one code may be all that is in use, and the remedy, for `diagnose.codes`."""
    causes = {}
    if config.images == "symmetric":
        causes["config.model.images=unit"] = (
            "a black background is -1 to the autoencoder, where the decoder's tanh saturates and "
            "its gradient vanishes"
        )
    if config.codes.start == "normal":
        causes["config.model.codes.start=uniform"] = (
            "code vectors start so long, beside the encoder's outputs, that the shortest is the "
            "nearest to all outputs"
        )
    if causes:
        return {
            "cause": " and when ".join(causes.values()),
            "remedy": f"set {' and '.join(causes)}",
        }
    restart = "config.model.codes.decay=0.99 and .restart_below=1"
    return {"remedy": f"let unused codes restart ({restart})"}


def of_autoencoder(path: Path) -> bool:
    """Is it a parameter of the autoencoder?"""
    return path[0] in {"encoder", "decoder", "codebook"}


def of_transition(path: Path) -> bool:
    """Is it a parameter of the transition layer?"""
    return path[0] == "transition"


# Parts of the model


def init(model: Model, key: PRNGKeyArray, batch: Batch) -> Variables:
    """Initial parameters, and the collection "codebook" if it is a moving average."""
    codes, modules, keys = model.config.codes, model.networks, jax.random.split(key, 4)
    image = to_network(model, batch["x"]["image"])
    encoder = modules.encoder.init(keys[0], image)["params"]
    latent = apply(modules.encoder, encoder, image)
    one_hot = jnp.zeros((len(image), model.num_nodes, codes.num_codes)).at[..., 0].set(1.0)
    shape = (codes.num_codebooks, codes.num_codes, codes.code_dim)
    if codes.start == "uniform":
        vectors = within(1 / codes.num_codes)(keys[3], shape)
    else:
        vectors = codes.initial_scale * jax.random.normal(keys[3], shape)
    params = {
        "encoder": encoder,
        "decoder": modules.decoder.init(keys[1], latent)["params"],
        "transition": modules.transition.init(keys[2], one_hot, "all")["params"],
    }
    if not model.moving_average:
        return {"params": params | {"codebook": {"vectors": vectors}}}
    counts = jnp.ones(shape[:2])
    sums = vectors * counts[..., None]
    return {"params": params, "codebook": {"vectors": vectors, "counts": counts, "sums": sums}}


def to_network(model: Model, images: UInt8[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Stored images in the range that the autoencoder sees and draws."""
    images = from_uint8(images)
    return (images + 1) / 2 if model.config.images == "unit" else images


def from_network(model: Model, images: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Images as the decoder draws them, in [-1, 1]: below 0, what should be in [0, 1] is black."""
    return jnp.maximum(2 * images - 1, -1) if model.config.images == "unit" else images


def codebooks(model: Model, variables: Variables) -> Float[Array, "c k e"]:
    """The vectors of all codes."""
    home = variables if model.moving_average else variables["params"]
    return home["codebook"]["vectors"]


def latents(
    model: Model, variables: Variables, images: Float[Array, "b h w c"]
) -> Float[Array, "b c m e"]:
    """Encoder outputs, cut into one chunk of channels for each codebook."""
    h = apply(model.networks.encoder, variables["params"]["encoder"], images)
    return quantize.split_codebooks(h, num_codebooks=model.config.codes.num_codebooks)


def reconstruct(
    model: Model, variables: Variables, quantised: Float[Array, "b c m e"]
) -> Float[Array, "b h w c"]:
    """Images from vectors of codes, as the decoder draws them."""
    z = quantize.merge_codebooks(quantised, grid=model.networks.grid)
    return apply(model.networks.decoder, variables["params"]["decoder"], z)


def predict(
    model: Model,
    variables: Variables,
    one_hot: Float[Array, "b n k"],
    action: Action,
    key: PRNGKeyArray,
    training: bool = False,
    identity_graph: bool = False,
) -> Transition:
    """The transition layer's prediction; in training with dropout. `key` is for all chance in it.

    Logits are log probabilities, none below the logarithm of `floor`.
    """
    gate_key, dropout_key = jax.random.split(key)
    options = {
        "key": gate_key if model.config.gates == "stochastic" else None,
        "dropout_key": dropout_key if training else None,
        "identity_graph": identity_graph,
    }
    layer, params = model.networks.transition, variables["params"]["transition"]
    seen = apply(layer, params, one_hot, action, **options)
    return seen._replace(logits=floored(model, seen.logits))


def floored(model: Model, logits: Float[Array, "... k"]) -> Float[Array, "... k"]:
    """Log probabilities, none below the logarithm of `floor`; what follows normalises them."""
    log_p = jax.nn.log_softmax(logits, axis=-1)
    return jnp.maximum(log_p, math.log(model.config.floor)) if model.config.floor else log_p


def log_probabilities(
    model: Model, logits: Float[Array, "b a n k"], target: Float[Array, "b n k"]
) -> Float[Array, "b a"]:
    """Log probability of each action, from the codes predicted under it and the codes of y."""
    over_nodes = model.config.retrieval.over_nodes
    distances = retrieve.code_distances(logits, target, over_nodes=over_nodes)
    log_p = floored(model, retrieve.action_log_probabilities(distances))
    return jax.nn.log_softmax(log_p, axis=-1)


# Stage "autoencoder"


def autoencoder_loss(
    model: Model, variables: Variables, batch: Batch, context: Context
) -> tuple[Float[Array, ""], Aux]:
    """MCQ-VAE (section 3): reconstruction, codebook and commitment loss."""
    codes, vectors = model.config.codes, codebooks(model, variables)
    images = to_network(model, batch["x"]["image"])
    h = latents(model, variables, images)
    q = quantize.nearest_code(h, vectors)
    quantised = quantize.lookup(q, vectors)
    codebook, commitment = quantize.quantisation_losses(h, quantised)
    # The gradient of a code's vector is copied to the encoder's output.
    output = reconstruct(model, variables, quantize.straight_through(quantised, h))
    terms = {
        "reconstruction": reconstruction.squared_error(output, images),
        # The sum over codebooks of means over the elements of each.
        "codebook": codes.num_codebooks * codebook,
        "commitment": codes.num_codebooks * commitment,
    }
    counts = quantize.code_counts(q, num_codes=codes.num_codes, axis_name=context.axis_name)
    used = {"codes_used": quantize.perplexity(counts).mean() / codes.num_codes}
    new = {}
    if model.moving_average:
        sums = quantize.code_sums(
            jax.lax.stop_gradient(h), q, num_codes=codes.num_codes, axis_name=context.axis_name
        )
        new = {"codebook": renewed(model, variables["codebook"], h, counts, sums, context.key)}
    return weighted_sum(model, terms), Aux(terms | used, new)


def renewed(
    model: Model,
    old: dict[str, Array],
    h: Float[Array, "b c m e"],
    counts: Float[Array, "c k"],
    sums: Float[Array, "c k e"],
    key: PRNGKeyArray,
) -> dict[str, Array]:
    """Moving-average codebooks after a batch, dead codes restarted."""
    codes = model.config.codes
    vectors, mean_counts, mean_sums = quantize.moving_average_codebook(
        old["counts"], old["sums"], counts, sums, decay=codes.decay
    )
    if codes.restart_below > 0:
        vectors, dead = quantize.restart_dead_codes(
            key, vectors, mean_counts, jax.lax.stop_gradient(h), threshold=codes.restart_below
        )
        mean_counts = jnp.where(dead > 0, 1.0, mean_counts)
        mean_sums = jnp.where(dead[..., None] > 0, vectors, mean_sums)
    return {"vectors": vectors, "counts": mean_counts, "sums": mean_sums}


def weighted_sum(model: Model, terms: Scalars) -> Float[Array, ""]:
    """The loss: terms times `weights`."""
    return jnp.asarray(sum(model.config.weights[name] * term for name, term in terms.items()))


# Stage "transition"


def transition_loss(
    model: Model, variables: Variables, batch: Batch, context: Context
) -> tuple[Float[Array, ""], Aux]:
    """The three modes of section 4; in training each batch has one, in validation all three.

    Each metric in the log is a mean over the batches of its mode.
    """
    sides, num_codes = [batch[side]["codes"] for side in ("x", "y")], model.config.codes.num_codes
    x, y = (jax.nn.one_hot(codes, num_codes) for codes in sides)
    action, training = batch["action"], context.training
    predicted = functools.partial(predict, model, variables, training=training)
    modes = (
        functools.partial(base_terms, predicted, x),
        functools.partial(action_terms, model, predicted, x, y, action),
        functools.partial(retrieval_terms, model, predicted, x, y, action),
    )
    if training:
        # The log averages over all batches, and in those of other modes a term is 0.
        terms = _one_of(modes, mode_of(model, context.step, len(modes)), context.key)
        terms = {name: len(modes) * value for name, value in terms.items()}
    else:
        terms = {name: value for mode in modes for name, value in mode(context.key).items()}
    metrics = {"retrieval_accuracy": terms.pop("retrieval_accuracy")}
    return weighted_sum(model, terms) / len(modes), Aux(terms | metrics, {})


def base_terms(predicted: Predict, x: Float[Array, "b n k"], key: PRNGKeyArray) -> Scalars:
    """Base mode: without an action the codes stay as they are, and the graph is the identity."""
    free = predicted(x, "none", key)
    fixed = predicted(x, "none", key, identity_graph=True)
    still = transition.node_cross_entropy(fixed.logits[:, 0], x)
    return {
        "base": transition.node_cross_entropy(free.logits[:, 0], x),
        "identity": still + transition.identity_distance(free.graph),
    }


def action_terms(
    model: Model,
    predicted: Predict,
    x: Float[Array, "b n k"],
    y: Float[Array, "b n k"],
    action: Int[Array, " b"],
    key: PRNGKeyArray,
) -> Scalars:
    """Action mode: predict the codes of y from those of x and the action, on a sparse graph."""
    key, prior_key = jax.random.split(key)
    seen = Transition(*(part[:, 0] for part in predicted(x, action, key)))
    terms = transition.graph_terms(seen.edges, seen.graph, rate=model.config.edge_rate)
    if model.config.edge_prior == "random":
        terms["edge_prior"] = transition.random_edge_divergence(prior_key, seen.edges)
    return terms | {"action": transition.node_cross_entropy(seen.logits, y)}


def retrieval_terms(
    model: Model,
    predicted: Predict,
    x: Float[Array, "b n k"],
    y: Float[Array, "b n k"],
    action: Int[Array, " b"],
    key: PRNGKeyArray,
) -> Scalars:
    """Retrieval mode ("causal" in the paper): predict the action from the codes of x and y."""
    log_p = log_probabilities(model, predicted(x, "all", key).logits, y)
    return {
        "retrieval": transition.retrieval_loss(log_p, action),
        "retrieval_accuracy": transition.retrieval_accuracy(log_p, action),
    }


def mode_of(model: Model, step: Int[Array, ""], count: int) -> Int[Array, ""]:
    """Which of the modes a training step has, the same on all devices."""
    if model.config.modes == "in_turn":
        return step % count
    return jax.random.randint(jax.random.fold_in(model.gate_key, step), (), 0, count)


def _one_of(
    modes: Sequence[Callable[[PRNGKeyArray], Scalars]], mode: Int[Array, ""], key: PRNGKeyArray
) -> Scalars:
    """The scalars of one mode, and zeros for those of the others."""
    shapes = [jax.eval_shape(mode, key) for mode in modes]
    names = {name: shape for found in shapes for name, shape in found.items()}

    def padded(mode: Callable[[PRNGKeyArray], Scalars]) -> Callable[[PRNGKeyArray], Scalars]:
        zeros = {name: jnp.zeros(s.shape, s.dtype) for name, s in names.items()}
        return lambda key: zeros | mode(key)

    return jax.lax.switch(mode, [padded(each) for each in modes], key)


# What a trained model does


def encode(
    model: Model,
    variables: Variables,
    images: UInt8[Array, "b h w c"],
    values: Float[Array, "b f"] | None = None,
) -> Representation:
    """Codes, int32 `[B, N]`, and their vectors, `[B, N * E]`; labels are not used."""
    del values
    vectors = codebooks(model, variables)
    q = quantize.nearest_code(latents(model, variables, to_network(model, images)), vectors)
    quantised = quantize.lookup(q, vectors)
    return {"codes": q.reshape(len(q), -1), "vectors": quantised.reshape(len(q), -1)}


def precompute_codes(
    model: Model, variables: Variables, images: UInt8[Array, "b h w c"]
) -> dict[str, Array]:
    """The column "codes" of stage "transition"."""
    return {"codes": encode(model, variables, images)["codes"]}


def one_hot_codes(
    model: Model, variables: Variables, images: UInt8[Array, "b h w c"]
) -> Float[Array, "b n k"]:
    """The codes of images, one-hot."""
    return jax.nn.one_hot(encode(model, variables, images)["codes"], model.config.codes.num_codes)


def decode(
    model: Model, variables: Variables, representation: Representation
) -> Float[Array, "b h w c"]:
    """Images in [-1, 1]."""
    vectors, codes = representation["vectors"], model.config.codes
    quantised = vectors.reshape(len(vectors), codes.num_codebooks, -1, codes.code_dim)
    return from_network(model, reconstruct(model, variables, quantised))


def retrieve_action(
    model: Model,
    variables: Variables,
    x: UInt8[Array, "b h w c"],
    y: UInt8[Array, "b h w c"],
) -> Float[Array, "b a"]:
    """Probability of each action between two images."""
    every = predict(model, variables, one_hot_codes(model, variables, x), "all", model.gate_key)
    return jnp.exp(log_probabilities(model, every.logits, one_hot_codes(model, variables, y)))


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
        lambda codes: jnp.ones((len(codes), model.info.num_actions), bool),
        before,
        after,
        sizes=model.info.factor_sizes,
        circular=model.info.circular,
        max_steps=max_steps,
        width=width,
        price=math.log(model.info.num_actions),
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
    vectors = quantize.lookup_one_hot(one_hot, codebooks(model, variables))
    return from_network(model, reconstruct(model, variables, vectors))


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
