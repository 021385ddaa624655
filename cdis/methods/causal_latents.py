"""Latents that follow a causal graph: what CauF-VAE as published and anchored CauF-VAE share.

Exogenous noise eps goes through a causal flow to latents z, one for each factor, in the order of
the factors, which may list effects before their causes. Parameters are in four groups, "encoder",
"decoder", "conditioner" (the mechanisms of the causal flow) and "prior".
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray
from ml_collections import ConfigDict

from cdis.data.info import Info
from cdis.errors import UserError
from cdis.methods import labels
from cdis.methods.base import FactorGraph, Representation, Variables
from cdis.networks.apply import apply
from cdis.networks.autoencoder import patch_networks
from cdis.networks.conditioner import Conditioner
from cdis.ops import causal_flow
from cdis.ops.adjacency import order_only, topological_order, validate_graph

_MIN_PRIOR_STD = 0.01
#: Levels of noise at which edge strengths are measured; for an affine map one level is enough.
_NOISE_LEVELS = {causal_flow.AFFINE: (0.0,), causal_flow.SPLINE: (-1.0, 0.0, 1.0)}


class Networks(NamedTuple):
    """The networks of a model; any Flax module with the same inputs and outputs will do."""

    encoder: nn.Module  #: images [b, h, w, c] in [-1, 1], and labels if any, to [b, 2 * latents]
    decoder: nn.Module  #: latents [b, latents] to images in [-1, 1]
    conditioner: nn.Module  #: no input; the `Mechanisms` of the causal flow
    prior: nn.Module  #: no input; `Mechanisms` from u_i to mean and raw std of p(z_i | u_i)


#: From the whole config and the data set.
MakeNetworks = Callable[[ConfigDict, Info], Networks]


class Model(NamedTuple):
    """What the functions of a method need beside variables and data."""

    config: ConfigDict  #: `config.model`
    info: Info
    networks: Networks
    graph: Float[np.ndarray, "f f"]  #: [i, j]: may factor j be a parent of factor i?
    scale: labels.Scale
    transform: causal_flow.Transform

    @property
    def order(self) -> tuple[int, ...]:
        """The factors, causes before effects: the order in which the causal flow visits them."""
        return topological_order(self.graph)


def make_networks(
    config: ConfigDict, info: Info, *, latents: int, transform: causal_flow.Transform
) -> Networks:
    """The default networks."""
    model, d = config.model, info.num_factors
    encoder, decoder = patch_networks(info.image_shape, **model.autoencoder, latent=2 * latents)
    conditioner = Conditioner(d, model.flow.hidden, transform.num_parameters)
    return Networks(encoder, decoder, conditioner, Conditioner(d, model.prior_hidden, 2))


def graph(model: ConfigDict, info: Info) -> Float[np.ndarray, "f f"]:
    """The graph that `config.model.flow` asks for. Raises `UserError` if there is none."""
    if model.flow.order_only:
        return order_only(info.num_factors)
    given = model.flow.graph or info.graph
    if given is None:
        raise UserError(
            f"{info.name} has no causal graph. Give one as config.model.flow.graph, set "
            "config.model.flow.order_only, so that every factor may depend on all before it, or "
            "choose a data set with a graph, such as pendulum/clean."
        )
    return validate_graph(given, info.factor_names)


def init_params(
    model: Model, key: PRNGKeyArray, latents: int, images: Array, *label_input: Array
) -> Variables:
    """Fresh parameters of all networks; `images` are in [-1, 1]."""
    keys, networks = jax.random.split(key, 4), model.networks
    z = jnp.zeros((len(images), latents))
    return {
        "encoder": networks.encoder.init(keys[0], images, *label_input)["params"],
        "decoder": networks.decoder.init(keys[1], z)["params"],
        "conditioner": networks.conditioner.init(keys[2])["params"],
        "prior": networks.prior.init(keys[3])["params"],
    }


def mechanisms(model: Model, variables: Variables) -> causal_flow.Mechanisms:
    """The mechanisms of the causal flow."""
    return apply(model.networks.conditioner, variables["params"]["conditioner"])


def prior(
    model: Model, variables: Variables, u: Float[Array, "b f"]
) -> tuple[Float[Array, "b f"], Float[Array, "b f"]]:
    """Mean and standard deviation of each `p(z_i | u_i)`, for standardised labels u."""
    of_labels = apply(model.networks.prior, variables["params"]["prior"])
    theta = causal_flow.map_parameters(of_labels, jnp.eye(model.info.num_factors), u)
    return theta[..., 0], _MIN_PRIOR_STD + jax.nn.softplus(theta[..., 1])


def decode(
    model: Model, variables: Variables, representation: Representation
) -> Float[Array, "b h w c"]:
    """The mean image p(x|z) of each vector of latents, clipped to [-1, 1]."""
    z = representation["vectors"]
    return jnp.clip(apply(model.networks.decoder, variables["params"]["decoder"], z), -1, 1)


def counterfactual(
    model: Model,
    variables: Variables,
    adjacency: Float[Array, "f f"],
    z: Float[Array, "b f"],
    fixed: Bool[Array, " f"],
    values: Float[Array, "b f"],
) -> Float[Array, "b f"]:
    """What z would have been under `do` of the `fixed` factors; `values` in physical units."""
    return causal_flow.counterfactual(
        mechanisms(model, variables),
        adjacency,
        z,
        jnp.broadcast_to(fixed, z.shape),
        _latents_of(model, variables, values),
        order=model.order,
        transform=model.transform,
    )


def sample(
    model: Model,
    variables: Variables,
    adjacency: Float[Array, "f f"],
    key: PRNGKeyArray,
    fixed: Bool[Array, " f"],
    values: Float[Array, "b f"],
    *,
    extra: int = 0,
) -> Representation:
    """Latents of new images: new noise through the causal flow, with the `fixed` factors set.

    `values` are in physical units. The last `extra` latents have no labels and are the noise
    itself, whose prior is N(0, I).
    """
    b, d = values.shape
    eps = jax.random.normal(key, (b, d + extra))
    z = causal_flow.intervene(
        mechanisms(model, variables),
        adjacency,
        eps[:, :d],
        jnp.broadcast_to(fixed, (b, d)),
        _latents_of(model, variables, values),
        order=model.order,
        transform=model.transform,
    )
    return {"vectors": jnp.concatenate([z, eps[:, d:]], axis=-1)}


def _latents_of(
    model: Model, variables: Variables, values: Float[Array, "b f"]
) -> Float[Array, "b f"]:
    """The latents that stand for physical values."""
    u = (values - model.scale.mean) / model.scale.std
    # The latent of a binary factor is a logit; the prior maps its label to one.
    return jnp.where(model.scale.binary, prior(model, variables, u)[0], u)


def edge_strength(
    model: Model,
    variables: Variables,
    adjacency: Float[Array, "f f"],
    z: Float[Array, "b f"],
) -> Float[Array, "f f"]:
    """`cdis.ops.causal_flow.edge_strength` at the latents z."""
    return causal_flow.edge_strength(
        mechanisms(model, variables),
        adjacency,
        z,
        transform=model.transform,
        noise=_NOISE_LEVELS[model.transform],
    )


def edge_metrics(model: Model, strength: Float[Array, "f f"]) -> dict[str, Array]:
    """The strength of each edge of the graph, by name, for the log."""
    names = model.info.factor_names
    edges = np.argwhere(model.graph).tolist()
    return {f"edge_{names[j]}_to_{names[i]}": strength[i, j] for i, j in edges}


def factor_graph(model: Model, strength: Float[Array, "f f"]) -> FactorGraph:
    """The edges stronger than `flow.threshold`."""
    return FactorGraph(strength, strength > model.config.flow.threshold)
