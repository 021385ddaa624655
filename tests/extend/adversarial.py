"""An autoencoder with a discriminator (after Larsen et al. 2016): two losses, two optimisers."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from cdis.data.examples import IMAGES
from cdis.methods.base import Aux, Method, Objective, Stage
from cdis.ops.images import from_uint8


def make(config, info):
    size, width = math.prod(info.image_shape), config.model.width
    networks = {
        "encoder": (nn.Dense(width), size),
        "decoder": (nn.Dense(size), width),
        "critic": (nn.Sequential([nn.Dense(width), nn.tanh, nn.Dense(1)]), size),
    }

    def init(key, batch):
        keys = jax.random.split(key, len(networks))
        sizes = zip(networks.items(), keys, strict=True)
        return {"params": {k: net.init(key, jnp.ones(n)) for (k, (net, n)), key in sizes}}

    def run(name, variables, x):
        return networks[name][0].apply(variables["params"][name], x.reshape(len(x), -1))

    def encode(variables, images, values=None) -> dict[str, Any]:
        return {"vectors": run("encoder", variables, from_uint8(images))}

    def decode(variables, representation):
        return run("decoder", variables, representation["vectors"]).reshape(-1, *info.image_shape)

    def reconstruct(variables, batch, context):
        images = batch["x"]["image"]
        fake = decode(variables, encode(variables, images))
        error = jnp.mean(jnp.square(fake - from_uint8(images)))
        fooled = jax.nn.softplus(-run("critic", variables, fake)).mean()
        return error + config.model.adversary * fooled, Aux({"error": error}, {})

    def discriminate(variables, batch, context):
        images = batch["x"]["image"]
        fake = run("critic", variables, decode(variables, encode(variables, images)))
        real = run("critic", variables, from_uint8(images))
        return jnp.mean(jax.nn.softplus(fake) + jax.nn.softplus(-real)), Aux({}, {})

    objectives = (
        Objective(reconstruct, lambda path: path[0] != "critic"),
        Objective(discriminate, lambda path: path[0] == "critic", critic_optimizer),
    )
    return Method(init, (Stage("only", IMAGES, ("image",), objectives),), encode, decode)


def critic_optimizer(settings, steps_per_epoch):
    return optax.rmsprop(settings.learning_rate)
