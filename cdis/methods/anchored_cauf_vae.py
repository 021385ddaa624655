"""Anchored CauF-VAE, ours: a CauF-VAE whose causal flow carries the mechanisms.

The model is that of `cdis.methods.cauf_vae` (arXiv 2304.09010): an encoder gives a Gaussian over
noise eps, a causal flow turns eps into latents z, one for each labelled factor, a decoder turns z
into an image, and labels u give the prior p(z|u). Trained as published, the encoder's noise absorbs
what the mechanisms should express, and interventions fail. Here labels anchor the flow.

A config describes the stages that it wants. They run in this order:

    stage "encoder"    images to labels alone, so that a structure can be learnt from images
    stage "structure"  the causal flow as a density, with a price on each edge: which are needed?
    stage "flow"       the causal flow as a density, on the edges that are left
    stage "images"     the whole model, on images

"structure" and "flow" fit the causal flow to labels or, with `flow.fit_to="images"`, to the
encoder's latents of images.

Departures from the paper, with the fields of `config.model`:

    stage "flow", flow.frozen    the causal flow is fitted first and then left alone. Or it goes on
                                 learning, and `weights.flow` keeps it a density of the labels
    the encoder's head           it predicts factors m(x), and F^-1(m) is the mean of eps, so zbar =
                                 m and supervision does not fight the causal flow
    decoder.learns_from          "labels": the decoder learns to draw each image from its labels,
                                 with `decoder.noise` on them, and the encoder learns against the
                                 fixed decoder. Trained together on latents ("latents", as in the
                                 paper), the two can agree on offsets finer than any label, which
                                 interventions do not carry along, such as the light of an image
    labels into the encoder      none: they would hand it the answer
    posterior_floor              least standard deviation of q(eps|x), so that nothing hides in
                                 small offsets
    weights.alignment            heavy
    extra, weights.extra,        latents without labels, with their own weight on the KL divergence,
    weights.dependence           and a price on their distance correlation with the labelled ones
    flow.transform               "spline" in place of "affine", for multimodal noise
    stages "encoder", "structure"  the graph is learnt, from labels or from images
    label_fraction               the other images have the causal flow's own density as prior, in
                                 place of p(z|u), and the decoder learns from their latents; each
                                 comes beside a labelled image
    tinted                       half of the images are shown in another light, which no label
                                 describes: the irrelevant attribute in the evaluation of robustness

Labels may be missing. Alignment uses every label that is known, and the density of labels the term
log p(z_i | parents of i) of each factor that is known together with its parents. The strength of an
edge is measured with unknown labels at their mean.
"""

from collections.abc import Callable, Collection
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from cdis.config import common, stage
from cdis.data.examples import IMAGES, Examples, Rows, of_images
from cdis.data.info import Dataset, Info
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
from cdis.objectives import sparsity, vae
from cdis.objectives.independence import distance_correlation
from cdis.objectives.weighting import weighted_sum
from cdis.ops import causal_flow, gaussian
from cdis.ops.images import from_uint8, tinted

#: Allowed values of switches in `config.model`.
SWITCHES = {
    "flow.transform": ("affine", "spline"),
    "flow.fit_to": ("labels", "images"),
    "decoder.learns_from": ("labels", "latents"),
}
_TRANSFORMS = {"affine": causal_flow.AFFINE, "spline": causal_flow.SPLINE}
_STRENGTH_DECAY = 0.99
_ModelLoss = Callable[[Model, Variables, Batch, Context], tuple[Float[Array, ""], Aux]]

SMOKE = {
    "model.autoencoder.width": 4,
    "model.autoencoder.hidden": 8,
    "model.flow.hidden": 4,
    "model.prior_hidden": 4,
}


def defaults() -> ConfigDict:
    """The config of `experiments/cauf_vae/pendulum_cpu.py`."""
    config = common()
    config.method = "cdis.methods.anchored_cauf_vae"
    config.data.name = "pendulum/clean"
    config.validate_every = 500
    config.checkpoint_every = 500
    config.stages.flow = stage(
        steps=3000,
        batch_size=256,
        learning_rate=1e-2,
        schedule="cosine",
        warmup_steps=100,
        clip_norm=10.0,
    )
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
            "label_fraction": 1.0,  # of the images
            "tinted": False,  # half of the images in another light
            "extra": 0,  # latents beyond the labelled ones
            "posterior_floor": 0.03,  # of the standard deviation of eps
            "pixel_std": 0.1,  # of the decoder's Gaussian, for pixels in [0, 1]
            "prior_hidden": 16,
            "decoder": {
                "learns_from": "labels",  # where they are known | "latents"
                "noise": 0.02,  # on the factors that it learns from
            },
            "autoencoder": {
                "patch": 0,  # pixels; 0: to fit the images
                "width": 32,
                "hidden": 256,
                "rank": 48,  # of the decoder's separable images; 0: convolutions
            },
            "flow": {
                "graph": (),  # rows of 0 and 1, row i marking the parents of i; (): the data set's
                "order_only": False,  # every earlier factor is a parent
                "transform": "affine",  # | "spline"
                "hidden": 32,
                "fit_to": "labels",  # | "images"
                "blur": 0.05,  # noise on standardised labels while the causal flow is fitted
                "frozen": True,  # in the stage "images"
                "threshold": 0.2,  # a weaker edge counts as absent
            },
            "weights": {
                "reconstruction": 1.0,
                "drawing": 1.0,
                "dependence": 1000.0,
                "kl": 1.0,
                "extra": 1.0,
                "alignment": 2000.0,
                "flow": 0.0,
                "group_lasso": 0.0,
            },
        }
    )
    return config


fit = fit_patch


def networks(config: ConfigDict, info: Info) -> Networks:
    """The default networks."""
    transform = _TRANSFORMS[config.model.flow.transform]
    latents = info.num_factors + config.model.extra
    return causal_latents.make_networks(config, info, latents=latents, transform=transform)


def make(config: ConfigDict, info: Info, networks: MakeNetworks = networks) -> Method:
    """Anchored CauF-VAE for the images, factors and graph of `info`, as `config.model` says.

    To change a network, put this into a module of your own and name it in `config.method`:

        from functools import partial
        from cdis.methods import anchored_cauf_vae
        def networks(config, info):
            return anchored_cauf_vae.networks(config, info)._replace(encoder=MyEncoder())
        make = partial(anchored_cauf_vae.make, networks=networks)

    Raises `UserError` for a data set without labels or graph, a graph with a cycle or of the wrong
    size, an unknown value of a switch, and stages that do not go together.
    """
    config = fit(config, info)
    _check(config, info)
    model = Model(
        config.model,
        info,
        networks(config, info),
        causal_latents.graph(config.model, info),
        labels.scale(info),
        _TRANSFORMS[config.model.flow.transform],
    )
    names = set(config.stages)
    encodes, decodes = bool(names & {"encoder", "images"}), "images" in names
    return Method(
        init=partial(init, model, "structure" in names),
        stages=_stages(model, names),
        encode=partial(encode, model) if encodes else None,
        decode=partial(decode, model) if decodes else None,
        elbo=partial(elbo, model) if decodes else None,
        factors=Factors(
            info.num_factors,
            partial(do, model) if decodes else None,
            partial(structure, model),
            partial(sample, model) if decodes else None,
        ),
        check=partial(
            labels.check,
            model.scale,
            graph=model.graph,
            fraction=config.model.label_fraction,
        ),
        warnings=_warnings(model),
    )


def _stages(model: Model, names: Collection[str]) -> tuple[Stage, ...]:
    """The stages among `names`, in the order in which they run."""

    def objective(loss: _ModelLoss, *parts: str) -> tuple[Objective]:
        return (Objective(partial(loss, model), partial(_within, parts)),)

    of_images = ("image", "values")
    labelled, both = _labelled_rows(model), _labelled_beside_all(model)
    density, make_latents, rows = ("values",), None, labelled
    if model.config.flow.fit_to == "images":
        density, make_latents, rows = ("latents",), partial(labelled_latents, model), IMAGES
    whole = ("encoder", "decoder", "prior")
    whole += () if model.config.flow.frozen else ("conditioner",)
    stages = (
        Stage(
            "encoder",
            labelled,
            of_images,
            objective(encoder_loss, "encoder"),
            diagnose=diagnose.labelled_latents,
        ),
        Stage("structure", rows, density, objective(structure_loss, "conditioner"), make_latents),
        Stage("flow", rows, density, objective(flow_loss, "conditioner"), make_latents),
        Stage(
            "images",
            both,
            of_images,
            objective(images_loss, *whole),
            diagnose=diagnose.aligned(model.config.weights.alignment),
        ),
    )
    return tuple(one for one in stages if one.name in names)


def _with_labels(model: Model, dataset: Dataset, index: np.ndarray) -> np.ndarray:
    """The images among `index` with a label at least."""
    given = labels.read(
        model.scale, jnp.asarray(dataset.values[index]), model.config.label_fraction
    )
    known = given.complete if given.known is None else given.known.any(-1)
    return index[np.asarray(known)]


def _labelled_rows(model: Model) -> Rows:
    """Images that have a label."""
    return Rows("images", lambda dataset, index: of_images(_with_labels(model, dataset, index)))


def _labelled_beside_all(model: Model) -> Rows:
    """Every image as "x". Where few have a label, a labelled one stands beside each.

    If at least half of them do, every batch has labels enough.
    """

    def find(dataset: Dataset, index: np.ndarray) -> Examples:
        labelled = _with_labels(model, dataset, index)
        if 2 * len(labelled) >= len(index):
            return of_images(index)
        return Examples({"x": index, "labelled": np.resize(labelled, len(index))}, {})

    return Rows("images", find)


def _within(parts: tuple[str, ...], path: Path) -> bool:
    return path[0] in parts


# Model


def init(model: Model, learns_structure: bool, key: PRNGKeyArray, batch: Batch) -> Variables:
    """Fresh variables; collection "graph" holds the edge strengths of a structure to be learnt."""
    images, d = from_uint8(batch["x"]["image"]), model.info.num_factors
    params = causal_latents.init_params(model, key, d + model.config.extra, images)
    graph = {"graph": {"strength": jnp.ones((d, d))}} if learns_structure else {}
    return {"params": params} | graph


def edges(model: Model, variables: Variables) -> Float[Array, "f f"]:
    """The edges of the causal flow: the whole graph, or what the stage "structure" found strong."""
    if "graph" not in variables:
        return jnp.asarray(model.graph)
    return model.graph * (variables["graph"]["strength"] > model.config.flow.threshold)


def posterior(
    model: Model, variables: Variables, images: UInt8[Array, "b h w c"]
) -> tuple[Float[Array, "b l"], Float[Array, "b l"], Float[Array, "b f"]]:
    """Mean and std of q(eps|x), first of the labelled latents, then of the extra ones; and zbar.

    The encoder predicts zbar; the mean of eps is F^-1(zbar).
    """
    d = model.info.num_factors
    output = apply(model.networks.encoder, variables["params"]["encoder"], from_uint8(images))
    location, std = gaussian.from_output(output, floor=model.config.posterior_floor)
    zbar = location[:, :d]
    mean, _ = causal_flow.inverse(
        mechanisms(model, variables), edges(model, variables), zbar, transform=model.transform
    )
    return jnp.concatenate([mean, location[:, d:]], axis=-1), std, zbar


def elbo_terms(
    model: Model,
    variables: Variables,
    images: UInt8[Array, "b h w c"],
    given: labels.Labels,
    key: PRNGKeyArray,
    noise: float = 0.0,
) -> tuple[dict[str, Float[Array, " b"]], Float[Array, "b f"], Float[Array, "b l"]]:
    """Terms of the negative ELBO of each image, zbar, and a sample of all latents.

    The decoder sees the sample with `noise` (standard deviation) on the labelled latents.
    """
    d = model.info.num_factors
    sample_key, noise_key = jax.random.split(key)
    mean, std, zbar = posterior(model, variables, images)
    vectors, log_det = latents_sample(model, variables, mean, std, sample_key)
    z, extra = vectors[:, :d], vectors[:, d:]
    prior = causal_latents.prior(model, variables, given.u)
    given_labels = vae.flow_divergence(log_det, std[:, :d], z, *prior)
    without_labels = gaussian.kl(mean[:, :d], std[:, :d]).sum(-1)
    seen = z + noise * jax.random.normal(noise_key, z.shape) if noise else z
    terms = {
        "reconstruction": pixel_error(model, variables, seen, extra, images),
        "kl": jnp.where(given.complete, given_labels, without_labels),
    }
    if model.config.extra:
        terms["extra"] = gaussian.kl(mean[:, d:], std[:, d:]).sum(-1)
    return terms, zbar, vectors


def latents_sample(
    model: Model,
    variables: Variables,
    mean: Float[Array, "b l"],
    std: Float[Array, "b l"],
    key: PRNGKeyArray,
) -> tuple[Float[Array, "b l"], Float[Array, " b"]]:
    """A sample of all latents, z and the extra ones, from q(eps|x); and the flow's log |det|."""
    d = model.info.num_factors
    eps = gaussian.reparameterise(key, mean, std)
    z, log_det = causal_flow.forward(
        mechanisms(model, variables),
        edges(model, variables),
        eps[:, :d],
        order=model.order,
        transform=model.transform,
    )
    return jnp.concatenate([z, eps[:, d:]], axis=-1), log_det


def pixel_error(
    model: Model,
    variables: Variables,
    z: Float[Array, "b f"],
    extra: Float[Array, "b e"],
    images: UInt8[Array, "b h w c"],
) -> Float[Array, " b"]:
    """-log p(x|z) of each image."""
    vectors = jnp.concatenate([z, extra], axis=-1)
    output = apply(model.networks.decoder, variables["params"]["decoder"], vectors)
    return -vae.image_log_likelihood(output, from_uint8(images), std=model.config.pixel_std)


def drawing(
    model: Model,
    variables: Variables,
    images: UInt8[Array, "b h w c"],
    given: labels.Labels,
    vectors: Float[Array, "b l"],
    key: PRNGKeyArray,
) -> Float[Array, " b"]:
    """-log p(x|z) at the labels, where they are known; elsewhere at the latents `vectors`.

    Trains the decoder alone. A binary label says less than its latent, a logit, which is used.
    """
    d = model.info.num_factors
    known = given.complete[:, None] if given.known is None else given.known
    vectors = jax.lax.stop_gradient(vectors)
    z = jnp.where(known & ~jnp.asarray(model.scale.binary), given.u, vectors[:, :d])
    z += model.config.decoder.noise * jax.random.normal(key, z.shape)
    return pixel_error(model, variables, z, vectors[:, d:], images)


def labels_density(
    model: Model, variables: Variables, given: labels.Labels, key: PRNGKeyArray
) -> Float[Array, " b"]:
    """-log p(u) under the causal flow, over the factors known together with their parents.

    Each factor gets noise, as a deterministic mechanism has no density; its parents stay exact, as
    noise on them would smooth the mechanism.
    """
    terms = causal_flow.log_prob_of_nodes(
        mechanisms(model, variables),
        edges(model, variables),
        given.u + model.config.flow.blur * jax.random.normal(key, given.u.shape),
        transform=model.transform,
        parents=given.u,
    )
    if given.known is None:
        return -jnp.where(given.complete, terms.sum(-1), 0.0)
    unknown_parents = ~given.known @ model.graph.T
    return -jnp.where(given.known & (unknown_parents == 0), terms, 0.0).sum(-1)


# Losses


def encoder_loss(
    model: Model, variables: Variables, batch: Batch, context: Context
) -> tuple[Float[Array, ""], Aux]:
    """Alignment alone."""
    _, _, zbar = posterior(model, variables, batch["x"]["image"])
    given = _labels(model, batch["x"])
    error = labels.alignment(model.scale, zbar, given).mean()
    signs = labels.signs(model.scale, model.info.factor_names, zbar, given)
    return error, Aux({"alignment": error} | signs, {})


def structure_loss(
    model: Model, variables: Variables, batch: Batch, context: Context
) -> tuple[Float[Array, ""], Aux]:
    """Density along the whole graph, with a price on each edge; tracks the strengths of edges."""
    d = model.info.num_factors
    whole = variables | {"graph": {"strength": jnp.full((d, d), jnp.inf)}}
    given = _fitted_to(model, batch)
    density = jnp.mean(labels_density(model, whole, given, context.key))
    kernel = mechanisms(model, whole).hidden_kernel
    price = sparsity.group_lasso(kernel, jnp.asarray(model.graph))
    now = _edge_strength(model, whole, given.u)
    if context.axis_name is not None:
        now = jax.lax.pmean(now, context.axis_name)
    decay = jnp.where(context.step == 0, 0.0, _STRENGTH_DECAY)
    strength = decay * variables["graph"]["strength"] + (1 - decay) * now
    strength = jax.lax.stop_gradient(strength)
    metrics = {"flow": density, "group_lasso": price}
    metrics |= causal_latents.edge_metrics(model, strength)
    total = density + model.config.weights.group_lasso * price
    return total, Aux(metrics, {"graph": {"strength": strength}})


def flow_loss(
    model: Model, variables: Variables, batch: Batch, context: Context
) -> tuple[Float[Array, ""], Aux]:
    """Density along the edges that are left."""
    given = _fitted_to(model, batch)
    density = jnp.mean(labels_density(model, variables, given, context.key))
    strength = _edge_strength(model, variables, given.u)
    return density, Aux({"flow": density} | causal_latents.edge_metrics(model, strength), {})


def images_loss(
    model: Model, variables: Variables, batch: Batch, context: Context
) -> tuple[Float[Array, ""], Aux]:
    """-ELBO, and what ties decoder, latents and flow to the labels, each term with its weight.

    Where few images have labels, "labelled" is a second batch, of images that do.
    """
    config, d = model.config, model.info.num_factors
    keys = jax.random.split(context.key, 7)
    from_labels = config.decoder.learns_from == "labels"
    images, given = _seen(model, batch["x"], keys[0]), _labels(model, batch["x"])
    terms, zbar, vectors = elbo_terms(
        model,
        _with_fixed_decoder(variables) if from_labels else variables,
        images,
        given,
        keys[1],
        0.0 if from_labels else config.decoder.noise,
    )
    if from_labels:
        terms["drawing"] = drawing(model, variables, images, given, vectors, keys[2])
    if config.extra:
        known = jax.lax.stop_gradient(vectors[:, :d])
        known = jnp.where(given.complete[:, None], given.u, known)
        dependence = distance_correlation(known, vectors[:, d:])
        terms["dependence"] = jnp.broadcast_to(dependence, len(images))
    aligned = zbar
    if "labelled" in batch:
        images, given = _seen(model, batch["labelled"], keys[3]), _labels(model, batch["labelled"])
        mean, std, aligned = posterior(model, variables, images)
        if from_labels:
            vectors, _ = latents_sample(model, variables, mean, std, keys[4])
            terms["drawing"] += drawing(model, variables, images, given, vectors, keys[5])
    terms["alignment"] = labels.alignment(model.scale, aligned, given)
    if config.weights.flow:
        terms["flow"] = labels_density(model, variables, given, keys[6])
    total, metrics = weighted_sum(terms, config.weights)
    strength = _edge_strength(model, variables, jax.lax.stop_gradient(zbar))
    signs = labels.signs(model.scale, model.info.factor_names, aligned, given)
    return total, Aux(metrics | signs | causal_latents.edge_metrics(model, strength), {})


def _with_fixed_decoder(variables: Variables) -> Variables:
    decoder = jax.lax.stop_gradient(variables["params"]["decoder"])
    return variables | {"params": variables["params"] | {"decoder": decoder}}


def _seen(model: Model, part: dict[str, Array], key: PRNGKeyArray) -> UInt8[Array, "b h w c"]:
    """The images; with `tinted`, half of them in another light."""
    images = part["image"]
    if not model.config.tinted:
        return images
    return tinted(images, jax.random.bernoulli(key, 0.5, (len(images),)))


def _labels(model: Model, part: dict[str, Array]) -> labels.Labels:
    return labels.read(model.scale, part["values"], model.config.label_fraction)


def _fitted_to(model: Model, batch: Batch) -> labels.Labels:
    """What the causal flow is fitted to: labels, or latents of images in their place."""
    if model.config.flow.fit_to == "images":
        zbar = batch["x"]["latents"]
        return labels.Labels(zbar, jnp.ones(len(zbar), bool), None)
    return _labels(model, batch["x"])


def _edge_strength(
    model: Model, variables: Variables, z: Float[Array, "b f"]
) -> Float[Array, "f f"]:
    return causal_latents.edge_strength(model, variables, edges(model, variables), z)


# What a trained model does


def encode(
    model: Model,
    variables: Variables,
    images: UInt8[Array, "b h w c"],
    values: Float[Array, "b f"] | None = None,
) -> Representation:
    """zbar of each image, then the means of the extra latents. Labels are not used."""
    del values
    mean, _, zbar = posterior(model, variables, images)
    return {"vectors": jnp.concatenate([zbar, mean[:, model.info.num_factors :]], axis=-1)}


def labelled_latents(
    model: Model, variables: Variables, images: UInt8[Array, "b h w c"]
) -> dict[str, Float[Array, "b f"]]:
    """The column "latents": zbar of each image."""
    vectors = encode(model, variables, images)["vectors"]
    return {"latents": vectors[:, : model.info.num_factors]}


def elbo(
    model: Model,
    variables: Variables,
    images: UInt8[Array, "b h w c"],
    values: Float[Array, "b f"],
    key: PRNGKeyArray,
) -> Float[Array, " b"]:
    """A lower bound on log p(x|u), or on log p(x) of an image that lacks a label."""
    given = labels.read(model.scale, values)
    terms, _, _ = elbo_terms(model, variables, images, given, key)
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

    `own_values`, the labels of the images, are not used.
    """
    del own_values
    d = model.info.num_factors
    vectors = encode(model, variables, images)["vectors"]
    adjacency = edges(model, variables)
    z = causal_latents.counterfactual(model, variables, adjacency, vectors[:, :d], fixed, values)
    return decode(model, variables, {"vectors": jnp.concatenate([z, vectors[:, d:]], axis=-1)})


def sample(
    model: Model,
    variables: Variables,
    key: PRNGKeyArray,
    fixed: Bool[Array, " f"],
    values: Float[Array, "b f"],
) -> Representation:
    """New latents, with the `fixed` factors set; see `cdis.methods.causal_latents.sample`."""
    adjacency, extra = edges(model, variables), model.config.extra
    return causal_latents.sample(model, variables, adjacency, key, fixed, values, extra=extra)


def structure(model: Model, variables: Variables, values: Float[Array, "b f"]) -> FactorGraph:
    """Edge strengths at these labels, and the edges that count as present."""
    strength = _edge_strength(model, variables, labels.read(model.scale, values).u)
    return causal_latents.factor_graph(model, strength)


# Configs that make no sense


def _check(config: ConfigDict, info: Info) -> None:
    check_switches(config.model, SWITCHES)
    _check_label_fraction(config.model.label_fraction, info)
    _check_stages(config.model, set(config.stages))


def _warnings(model: Model) -> tuple[str, ...]:
    connected = model.graph.any(0) | model.graph.any(1)
    binary = np.array(model.info.factor_names)[model.scale.binary & connected]
    if not len(binary) or model.config.flow.fit_to == "images":
        return ()
    return (
        f"The causal flow is fitted to labels of 0 and 1 ({', '.join(binary)}), but the latents of "
        "binary factors are logits: effects of or on them will be too weak. Set "
        "config.model.flow.fit_to to 'images', as the experiment cauf_vae/own:binary does.",
    )


def _check_label_fraction(fraction: float, info: Info) -> None:
    if not 0 < fraction <= 1:
        raise UserError(
            f"config.model.label_fraction is {fraction}, but must be above 0 and at most 1: "
            "without any labels nothing says which latent is which factor."
        )
    if fraction < 1 and all(info.factor_sizes):
        raise UserError(
            f"config.model.label_fraction is {fraction}, but the labels of {info.name} are "
            "discrete. An image's own labels decide whether it counts as labelled, and here many "
            "images have the same labels. Set it to 1."
        )


def _check_stages(model: ConfigDict, stages: set[str]) -> None:
    if model.flow.frozen and "flow" not in stages:
        raise UserError(
            "config.model.flow.frozen is set, but there is no stage 'flow' to fit the causal flow "
            "first: it would stay as it was initialised. Describe config.stages.flow, or set "
            "config.model.flow.frozen to False."
        )
    if model.flow.fit_to == "images" and stages & {"structure", "flow"} and "encoder" not in stages:
        raise UserError(
            "config.model.flow.fit_to is 'images', but there is no stage 'encoder' to learn "
            "latents of images first. Describe config.stages.encoder, or fit to 'labels'."
        )
