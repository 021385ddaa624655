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

Trained like this, the causal flow stays nearly dead, because the encoder's noise can absorb all
that the mechanisms should express. Every log line therefore shows the strength of each edge.
`cdis.methods.anchored_cauf_vae` has the remedies.

Ours, where the paper does not say: the weights of the loss, the networks, the training, and the
fixed standard deviation of the decoder. In training, half of the images hide their labels from the
encoder, so that it can also do without them: reconstruction of unlabelled images, the ELBO and
interventions never use labels. `labels_into_encoder=False` leaves them out altogether. Labels may
be missing: encoder and alignment use those that are known, and an image that lacks one has N(0, I)
as the prior of eps in place of p(z|u).
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from cdis.config import common, stage
from cdis.data.examples import IMAGES
from cdis.data.info import Info
from cdis.methods import causal_latents, labels
from cdis.methods.base import (
    Aux,
    Batch,
    Context,
    FactorGraph,
    Factors,
    Method,
    Objective,
    Representation,
    Stage,
    Variables,
)
from cdis.methods.causal_latents import MakeNetworks, Model, Networks, decode, mechanisms
from cdis.methods.fitting import fit_patch
from cdis.networks.apply import apply
from cdis.objectives import vae
from cdis.objectives.weighting import weighted_sum
from cdis.ops import causal_flow, gaussian
from cdis.ops.images import from_uint8

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
        steps=3000, batch_size=64, learning_rate=1e-3, schedule="cosine", warmup_steps=100
    )
    config.model = ConfigDict(
        {
            "labels_into_encoder": True,
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
                "hidden": 64,
                "threshold": 0.2,  # a weaker edge counts as absent
            },
            "weights": {"reconstruction": 1.0, "kl": 1.0, "alignment": 100.0},
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

    Raises `UserError` for a data set without labels or graph, and for a graph with a cycle or of
    the wrong size.
    """
    config = fit(config, info)
    model = Model(
        config.model,
        info,
        networks(config, info),
        causal_latents.graph(config.model, info),
        labels.scale(info),
        causal_flow.AFFINE,
    )
    objective = Objective(partial(images_loss, model))
    return Method(
        init=partial(init, model),
        stages=(Stage("images", IMAGES, ("image", "values"), (objective,)),),
        encode=partial(encode, model),
        decode=partial(decode, model),
        elbo=partial(elbo, model),
        factors=Factors(
            info.num_factors,
            partial(do, model),
            partial(structure, model),
            partial(sample, model),
        ),
        check=partial(labels.check, model.scale),
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
    prior = causal_latents.prior(model, variables, given.u)
    divergence = vae.flow_divergence(log_det, std, z, *prior)
    if model.scale.partly_labelled:
        divergence = jnp.where(given.complete, divergence, gaussian.kl(mean, std).sum(-1))
    return {"reconstruction": -log_likelihood, "kl": divergence}, zbar


def images_loss(
    model: Model, variables: Variables, batch: Batch, context: Context
) -> tuple[Float[Array, ""], Aux]:
    """-ELBO + alignment, each term with its weight."""
    images, given = batch["x"]["image"], labels.read(model.scale, batch["x"]["values"])
    sample_key, seen_key = jax.random.split(context.key)
    seen = _known(given) & jax.random.bernoulli(seen_key, 0.5, (len(images), 1))
    terms, zbar = elbo_terms(model, variables, images, given, seen, sample_key)
    terms["alignment"] = labels.alignment(model.scale, zbar, given)
    total, metrics = weighted_sum(terms, model.config.weights)
    strength = _edge_strength(model, variables, jax.lax.stop_gradient(zbar))
    return total, Aux(metrics | causal_latents.edge_metrics(model, strength), {})


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

    The encoder does not read u.
    """
    given, seen = labels.read(model.scale, values), _no_labels(model, images)[1]
    terms, _ = elbo_terms(model, variables, images, given, seen, key)
    return -jnp.sum(jnp.stack(list(terms.values())), axis=0)


def do(
    model: Model,
    variables: Variables,
    images: UInt8[Array, "b h w c"],
    fixed: Bool[Array, " f"],
    values: Float[Array, "b f"],
) -> Float[Array, "b h w c"]:
    """Counterfactual images under `do` of the `fixed` factors; `values` in physical units."""
    z = encode(model, variables, images)["vectors"]
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
