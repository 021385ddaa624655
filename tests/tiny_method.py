"""A method without a network, for the tests of the command line: action k rolls an image by k.

It is also an experiment file, with three model fields to override.
"""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from cdis.config import common, stage
from cdis.data import Info
from cdis.data.examples import IMAGES
from cdis.methods.base import Actions, Aux, Method, Objective, Stage


def get_config(variant: str = "") -> ConfigDict:
    config = common()
    config.method = "tiny_method"
    config.data.name = "sprites2d/coloured"
    config.validate_every = 0
    config.stages.only = stage(steps=2, batch_size=4, learning_rate=0.1)
    config.model.can_apply = variant != "mute"
    config.model.offset = 0.5
    config.model.widths = (1, 2)
    return config


def make(config: ConfigDict, info: Info) -> Method:
    def loss(variables, batch, context):
        return jnp.square(variables["params"]["offset"]).sum(), Aux({}, {})

    def rolled(images, action):
        return jax.vmap(lambda image, k: jnp.roll(image, k, axis=1))(images, action)

    def retrieve(variables, x, y):
        actions = jnp.arange(info.num_actions)
        every = jax.vmap(lambda k: rolled(x, jnp.full(len(x), k)))(actions)
        distance = jnp.mean(jnp.abs(every.astype(jnp.float32) - y), axis=(2, 3, 4))
        return jax.nn.softmax(-distance, axis=0).T

    def intervene(variables, images, action):
        return rolled(images, action.reshape(len(images), -1).sum(1)) / 127.5 - 1

    return Method(
        init=lambda key, batch: {"params": {"offset": jnp.full(1, config.model.offset)}},
        stages=(Stage("only", IMAGES, ("image",), (Objective(loss),)),),
        actions=Actions(retrieve, intervene) if config.model.can_apply else Actions(),
    )
