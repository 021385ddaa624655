"""A trained workdir without training: a method whose every answer can be computed by hand.

Its images are one light value in all pixels, with the data set below. The representation of an
image is its mean; action k adds k. Where several steps are retrieved, one of the light adds 1 and
one of the shadow 10. do() adds the values that are set, and 100 for the second. A sample is noise,
and the factors that are set.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from ml_collections import ConfigDict

from cdis.config import common, to_json
from cdis.data.info import Info
from cdis.methods.base import Actions, Codes, Factors, Method, Representation, Variables
from cdis.ops.retrieve import Steps
from cdis.training.checkpoint import Checkpoints
from cdis.training.state import State
from cdis.training.workdir import claim

INFO = Info(
    name="shade",
    factor_names=("light", "shadow"),
    factor_sizes=(3, 4),
    circular=(False, False),
    image_shape=(8, 8, 1),
    licence="none",
    citation="none",
    description="A light and its shadow.",
    graph=((0, 0), (1, 0)),
    value_mean=(10.0, -1.0),
    value_std=(2.0, 0.5),
)


def make(config: ConfigDict, info: Info) -> Method:
    """Everything that a method can do, or nothing if ``config.model.mute``."""
    del info

    def encode(variables: Variables, images: Array, values: Array | None = None) -> Representation:
        mean = jnp.mean(images.astype(jnp.float32), axis=(1, 2))
        extra = jnp.zeros_like(mean) if values is None else values[:, :1]
        vectors = variables["params"]["scale"] * jnp.concatenate([mean, extra], axis=1)
        return {"vectors": vectors, "codes": mean.astype(jnp.int32)}

    def decode(variables: Variables, representation: Representation) -> Array:
        del variables
        return _filled(representation["vectors"][:, 0])

    def retrieve(variables: Variables, x: Array, y: Array) -> Array:
        del variables
        step = y[:, 0, 0, 0].astype(jnp.int32) - x[:, 0, 0, 0]
        return 0.6 * jnp.equal(step[:, None], jnp.arange(4)) + 0.1

    def retrieve_steps(
        variables: Variables, x: Array, y: Array, *, max_steps: int, width: int
    ) -> Steps:
        del variables, width
        change = y[:, 0, 0, 0].astype(jnp.int32) - x[:, 0, 0, 0]
        shadow = jnp.round(change / 10).astype(jnp.int32)
        steps = jnp.stack([change - 10 * shadow, shadow], axis=1)
        found = jnp.abs(steps).sum(1) <= max_steps
        return Steps(jnp.where(found[:, None], steps, 0), jnp.where(found, 0.75, 0.25))

    def intervene(variables: Variables, images: Array, action: Array) -> Array:
        del variables
        return _filled(images[:, 0, 0, 0] + action.reshape(len(images), -1).sum(1))

    def do(
        variables: Variables,
        images: Array,
        fixed: Array,
        values: Array,
        labels: Array | None = None,
    ) -> Array:
        del variables, labels
        added = jnp.where(fixed, values + jnp.array([0, 100]), 0).sum(1)
        return _filled(images[:, 0, 0, 0] + added)

    def sample(variables: Variables, key: Array, fixed: Array, values: Array) -> Representation:
        del variables
        mean, std = jnp.array(INFO.value_mean), jnp.array(INFO.value_std)
        noise = jax.random.normal(key, values.shape)
        return {"vectors": jnp.where(fixed, (values - mean) / std, noise)}

    if config.model.mute:
        return Method(init=lambda key, batch: {}, stages=())
    return Method(
        init=lambda key, batch: {},
        stages=(),
        encode=encode,
        decode=decode,
        codes=Codes(256, 1),
        actions=Actions(retrieve, intervene, retrieve_steps=retrieve_steps),
        factors=Factors(2, do, sample=sample),
    )


def _filled(value: Array) -> Array:
    image = value[:, None, None, None] * jnp.ones((1, *INFO.image_shape))
    return image / 127.5 - 1


def images(*lights: int) -> np.ndarray:
    """An image for each light, uint8 ``[B, 8, 8, 1]``."""
    return np.full((len(lights), *INFO.image_shape), 0, np.uint8) + np.reshape(
        np.array(lights, np.uint8), (-1, 1, 1, 1)
    )


def workdir(path: Path, *, mute: bool = False) -> str:
    """Makes `path` the workdir of this method after five steps."""
    config = common()
    config.update(method="shade_method", model={"mute": mute})
    claim(path, config, INFO)
    state = State({"params": {"scale": np.float32(2)}}, {"count": np.int32(5)}, np.int32(5))
    with Checkpoints(path) as checkpoints:
        facts = {"step": 5, "train_seconds": 1.5, "config": config.to_dict()}
        checkpoints.save(state, facts | {"text": to_json(config)})
    return str(path)
