"""CauF-VAE as published: a variational autoencoder whose latents cause one another.

Fan, Kou and Gao, "Causal Disentangled Representation Learning with VAE and Causal Flows", arXiv
2304.09010. With u the standardised labels:

    encoder      q(eps|x, u), a diagonal Gaussian over exogenous noise (`posterior`)
    causal flow  z = F(eps); z_i is a function of eps_i and of the parents of i (`elbo_terms`)
    prior        p(z|u), a diagonal Gaussian, each z_i given u_i alone (`causal_latents.prior`)
    decoder      p(x|z), a Gaussian around an image (`causal_latents.decode`)
    loss         -ELBO + alignment of F(mean of eps) with u, in one stage, "images" (`images_loss`)

z_i is the latent of factor i. The causal flow is affine, and its edges are those of the factors'
causal graph or, with `flow.order_only`, all that the factors' order allows; the paper has both. An
intervention sets a latent, and its effects follow (`do`).

Trained like this, the causal flow stays weaker than the mechanisms, because the encoder's noise can
absorb what they should express. Every log line therefore shows the strength of each edge.
`cdis.methods.anchored_cauf_vae` has the remedies.

There is no public code by the authors, and their protocol is not known in full. What can be read in
several ways is a field of `config.model`:

    labels_into_encoder   Does the encoder read u? Paper: yes. Ours: yes. u hands the encoder the
                          answer; False shows what it finds in images alone.
    labels_hidden         The share of training images whose labels are hidden from the encoder.
                          Paper: 0, as we read it. Ours: .5, so that the encoder also learns to do
                          without labels, as it must where there are none.
    labels_at_evaluation  Does evaluation give the encoder the labels of test images? Paper: True,
                          as we read it, since q(eps|x, u) needs them. Ours: False, because latents
                          that agree with labels prove nothing if the encoder was given the labels.
    prior                 Paper and ours: "labels", p(z|u). "standard" is N(0, I) for eps, so that
                          the causal flow alone is the prior of z and can learn from it.
    weights.alignment     Paper: not known. Ours: as in anchored CauF-VAE.

The learning rate, the number of steps and `clip_norm` are in `config.stages.images`. They are ours,
as are the networks and the fixed standard deviation of the decoder. Labels may be missing: encoder
and alignment use those that are known, and an image that lacks one has N(0, I) as the prior of eps
in place of p(z|u).
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from cdis.config import common, stage
from cdis.data.examples import IMAGES
from cdis.data.info import Info
from cdis.errors import UserError
from cdis.methods import causal_latents, diagnose, labels
from cdis.methods.base import (
    Aux,
    Batch,
    Context,
    FactorGraph,
    Factors,
    Method,
    Objective,
    Path,
    Representation,
    Stage,
    Variables,
)
from cdis.methods.causal_latents import MakeNetworks, Model, Networks, decode, mechanisms
from cdis.methods.fitting import fit_patch
from cdis.methods.switches import check_switches
from cdis.networks.apply import apply
from cdis.objectives import vae
from cdis.objectives.weighting import weighted_sum
from cdis.ops import causal_flow, gaussian
from cdis.ops.images import from_uint8

#: Allowed values of switches in `config.model`.
SWITCHES = {"prior": ("labels", "standard")}

SMOKE = {
    "model.autoencoder.width": 4,
    "model.autoencoder.hidden": 8,
    "model.flow.hidden": 4,
    "model.prior_hidden": 4,
}


def defaults() -> ConfigDict:
    """The config of `experiments/cauf_vae/pendulum_literal.py`."""
    config = common()
    config.method = "cdis.methods.cauf_vae"
    config.data.name = "pendulum/clean"
    config.validate_every = 500
    config.checkpoint_every = 500
    config.stages.images = stage(
        steps=2000,
        batch_size=64,
        learning_rate=3e-3,
        schedule="cosine",
        warmup_steps=100,
        clip_norm=1.0,
    )
    config.model = ConfigDict(
        {
            "labels_into_encoder": True,
            "labels_hidden": 0.5,  # share of training images; at 0 the encoder always reads labels
            "labels_at_evaluation": False,
            "prior": "labels",  # | "standard"
            "pixel_std": 0.1,  # of the decoder's Gaussian, for pixels in [0, 1]
            "prior_hidden": 16,
            "autoencoder": {
                "patch": 0,  # pixels; 0: to fit the images
                "width": 32,
                "hidden": 256,
                "rank": 48,  # of the decoder's separable images; 0: convolutions
            },
            "flow": {
                "graph": (),  # rows of 0 and 1, row i marking the parents of i; (): the data set's
                "order_only": False,  # every earlier factor is a parent
                "hidden": 32,
                "threshold": 0.2,  # a weaker edge counts as absent
            },
            "weights": {"reconstruction": 1.0, "kl": 1.0, "alignment": 2000.0},
        }
    )
    return config


fit = fit_patch


def networks(config: ConfigDict, info: Info) -> Networks:
    """The default networks, for 2 F label inputs if `labels_into_encoder`."""
    return causal_latents.make_networks(
        config, info, latents=info.num_factors, transform=causal_flow.AFFINE
    )


def make(config: ConfigDict, info: Info, networks: MakeNetworks = networks) -> Method:
    """CauF-VAE for the images, factors and graph of `info`, as `config.model` says.

    To change a network, put this into a module of your own and name it in `config.method`:

        from functools import partial
        from cdis.methods import cauf_vae
        def networks(config, info):
            return cauf_vae.networks(config, info)._replace(decoder=MyDecoder(info.image_shape))
        make = partial(cauf_vae.make, networks=networks)

    Raises `UserError` for a data set without labels or graph, a graph with a cycle or of the wrong
    size, and switches with unknown values or that do not go together.
    """
    config = fit(config, info)
    _check(config.model, info)
    model = Model(
        config.model,
        info,
        networks(config, info),
        causal_latents.graph(config.model, info),
        labels.scale(info),
        causal_flow.AFFINE,
    )
    objective = Objective(partial(images_loss, model), partial(_trainable, model))
    return Method(
        init=partial(init, model),
        stages=(
            Stage(
                "images",
                IMAGES,
                ("image", "values"),
                (objective,),
                diagnose=diagnose.aligned(config.model.weights.alignment),
            ),
        ),
        encode=partial(encode, model),
        decode=partial(decode, model),
        elbo=partial(elbo, model),
        factors=Factors(
            info.num_factors,
            partial(do, model),
            partial(structure, model),
            partial(sample, model),
        ),
        labels_at_evaluation=config.model.labels_at_evaluation,
        check=partial(labels.check, model.scale),
        warnings=_warnings(config.model),
    )


def init(model: Model, key: PRNGKeyArray, batch: Batch) -> Variables:
    """Fresh variables."""
    images = from_uint8(batch["x"]["image"])
    label_input = _label_input(model, *_no_labels(model, images))
    d = model.info.num_factors
    return {"params": causal_latents.init_params(model, key, d, images, *label_input)}


def posterior(
    model: Model,
    variables: Variables,
    images: UInt8[Array, "b h w c"],
    u: Float[Array, "b f"],
    seen: Bool[Array, "b #f"],
) -> tuple[Float[Array, "b f"], Float[Array, "b f"], Float[Array, "b f"]]:
    """Mean and std of q(eps|x, u), and zbar = F(mean); the encoder reads u only where `seen`."""
    label_input = _label_input(model, u, seen)
    params = variables["params"]["encoder"]
    output = apply(model.networks.encoder, params, from_uint8(images), *label_input)
    mean, std = gaussian.from_output(output)
    zbar, _ = _flow(model, variables, mean)
    return mean, std, zbar


def elbo_terms(
    model: Model,
    variables: Variables,
    images: UInt8[Array, "b h w c"],
    given: labels.Labels,
    seen: Bool[Array, "b #f"],
    key: PRNGKeyArray,
) -> tuple[dict[str, Float[Array, " b"]], Float[Array, "b f"]]:
    """Terms of the negative ELBO of each image, and zbar."""
    mean, std, zbar = posterior(model, variables, images, given.u, seen)
    z, log_det = _flow(model, variables, gaussian.reparameterise(key, mean, std))
    output = apply(model.networks.decoder, variables["params"]["decoder"], z)
    log_likelihood = vae.image_log_likelihood(
        output, from_uint8(images), std=model.config.pixel_std
    )
    divergence = gaussian.kl(mean, std).sum(-1)
    if model.config.prior == "labels":
        prior = causal_latents.prior(model, variables, given.u)
        of_labels = vae.flow_divergence(log_det, std, z, *prior)
        divergence = jnp.where(given.complete, of_labels, divergence)
    return {"reconstruction": -log_likelihood, "kl": divergence}, zbar


def images_loss(
    model: Model, variables: Variables, batch: Batch, context: Context
) -> tuple[Float[Array, ""], Aux]:
    """-ELBO + alignment, each term with its weight."""
    images, given = batch["x"]["image"], labels.read(model.scale, batch["x"]["values"])
    sample_key, seen_key = jax.random.split(context.key)
    shown = jax.random.bernoulli(seen_key, 1 - model.config.labels_hidden, (len(images), 1))
    seen = _known(given) & shown
    terms, zbar = elbo_terms(model, variables, images, given, seen, sample_key)
    terms["alignment"] = labels.alignment(model.scale, zbar, given)
    total, metrics = weighted_sum(terms, model.config.weights)
    strength = _edge_strength(model, variables, jax.lax.stop_gradient(zbar))
    # An encoder that is shown the labels need not have learnt anything from the image.
    unseen = given._replace(known=_known(given) & ~seen)
    signs = labels.signs(model.scale, model.info.factor_names, zbar, unseen)
    return total, Aux(metrics | signs | causal_latents.edge_metrics(model, strength), {})


def encode(
    model: Model,
    variables: Variables,
    images: UInt8[Array, "b h w c"],
    values: Float[Array, "b f"] | None = None,
) -> Representation:
    """The latents zbar of each image, and of its labels where `values` gives them."""
    if values is None:
        u, seen = _no_labels(model, images)
    else:
        given = labels.read(model.scale, values)
        u, seen = given.u, _known(given)
    return {"vectors": posterior(model, variables, images, u, seen)[2]}


def elbo(
    model: Model,
    variables: Variables,
    images: UInt8[Array, "b h w c"],
    values: Float[Array, "b f"],
    key: PRNGKeyArray,
) -> Float[Array, " b"]:
    """A lower bound on log p(x|u), or on log p(x) of an image that lacks a label.

    With the prior "standard" it is on log p(x). The encoder reads u with `labels_at_evaluation`.
    """
    given = labels.read(model.scale, values)
    reads = model.config.labels_at_evaluation
    seen = _known(given) if reads else _no_labels(model, images)[1]
    terms, _ = elbo_terms(model, variables, images, given, seen, key)
    return -jnp.sum(jnp.stack(list(terms.values())), axis=0)


def do(
    model: Model,
    variables: Variables,
    images: UInt8[Array, "b h w c"],
    fixed: Bool[Array, " f"],
    values: Float[Array, "b f"],
    own_values: Float[Array, "b f"] | None = None,
) -> Float[Array, "b h w c"]:
    """Counterfactual images under `do` of the `fixed` factors; `values` in physical units.

    `own_values` are the labels of the images, for an encoder that reads them.
    """
    z = encode(model, variables, images, own_values)["vectors"]
    z = causal_latents.counterfactual(model, variables, _graph(model), z, fixed, values)
    return decode(model, variables, {"vectors": z})


def sample(
    model: Model,
    variables: Variables,
    key: PRNGKeyArray,
    fixed: Bool[Array, " f"],
    values: Float[Array, "b f"],
) -> Representation:
    """New latents, with the `fixed` factors set; see `cdis.methods.causal_latents.sample`."""
    return causal_latents.sample(model, variables, _graph(model), key, fixed, values)


def structure(model: Model, variables: Variables, values: Float[Array, "b f"]) -> FactorGraph:
    """Edge strengths at these labels, and the edges that count as present."""
    strength = _edge_strength(model, variables, labels.read(model.scale, values).u)
    return causal_latents.factor_graph(model, strength)


def _graph(model: Model) -> Float[Array, "f f"]:
    return jnp.asarray(model.graph)


def _flow(
    model: Model, variables: Variables, eps: Float[Array, "b f"]
) -> tuple[Float[Array, "b f"], Float[Array, " b"]]:
    """z = F(eps) and its log-determinant."""
    of_nodes = mechanisms(model, variables)
    return causal_flow.forward(
        of_nodes, _graph(model), eps, order=model.order, transform=model.transform
    )


def _edge_strength(
    model: Model, variables: Variables, z: Float[Array, "b f"]
) -> Float[Array, "f f"]:
    return causal_latents.edge_strength(model, variables, _graph(model), z)


def _no_labels(model: Model, images: Array) -> tuple[Float[Array, "b f"], Bool[Array, "b 1"]]:
    return jnp.zeros((len(images), model.info.num_factors)), jnp.zeros((len(images), 1), bool)


def _known(given: labels.Labels) -> Bool[Array, "b #f"]:
    return given.complete[:, None] if given.known is None else given.known


def _label_input(
    model: Model, u: Float[Array, "b f"], seen: Bool[Array, "b #f"]
) -> tuple[Float[Array, "b 2*f"], ...]:
    """Labels as the encoder reads them, if it does: zeros where hidden, and which are not."""
    if not model.config.labels_into_encoder:
        return ()
    return (jnp.concatenate([u * seen, jnp.broadcast_to(seen, u.shape)], axis=-1),)


def _trainable(model: Model, path: Path) -> bool:
    """The prior "standard" has no parameters."""
    return path[0] != "prior" or model.config.prior == "labels"


# Configs that make no sense


def _check(model: ConfigDict, info: Info) -> None:
    check_switches(model, SWITCHES)
    if not 0 <= model.labels_hidden <= 1:
        raise UserError(
            f"config.model.labels_hidden is {model.labels_hidden}, but must be a share of the "
            "images, from 0 to 1."
        )
    reads = model.labels_into_encoder and model.labels_hidden < 1
    if model.labels_at_evaluation and not reads:
        raise UserError(
            "config.model.labels_at_evaluation is set, but the encoder never reads labels in "
            "training. Set config.model.labels_into_encoder and a share "
            "config.model.labels_hidden below 1, or set config.model.labels_at_evaluation to False."
        )
    if model.prior == "standard" and any(info.binary):
        binary = [n for n, two in zip(info.factor_names, info.binary, strict=True) if two]
        raise UserError(
            f"config.model.prior is 'standard', but {', '.join(binary)} in {info.name} has only "
            "the values 0 and 1, and an intervention takes the latent of such a value from p(z|u). "
            "Set config.model.prior to 'labels'."
        )


def _warnings(model: ConfigDict) -> tuple[str, ...]:
    if not model.labels_into_encoder or model.labels_hidden or model.labels_at_evaluation:
        return ()
    return (
        "The encoder reads labels of all images in training (config.model.labels_hidden is 0) but "
        "of none in evaluation, for which it is not prepared. Set "
        "config.model.labels_at_evaluation, or hide the labels of some images.",
    )
