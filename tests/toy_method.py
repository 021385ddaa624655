"""A tiny method for the tests of the loop: deterministic, two stages and an extra collection.

Stage "autoencoder" learns a linear map of 12-pixel images and keeps their moving average in the
collection "average"; stage "actions" classifies the action between two images, given their
precomputed codes.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from ml_collections import ConfigDict

from cdis.config import common, stage
from cdis.data import png
from cdis.data.examples import IMAGES, PAIRS
from cdis.data.info import Dataset, Info
from cdis.data.records import Records
from cdis.methods.base import Aux, Method, Objective, Stage

INFO = Info(
    name="toy",
    factor_names=("row", "column", "tint"),
    factor_sizes=(4, 4, 3),
    circular=(False, False, True),
    image_shape=(2, 2, 3),
    licence="none",
    citation="none",
    description="Forty-eight random images.",
)

#: The name of a loss, once for every time that it has been traced; tests count compilations.
traces: list[str] = []


def load(name: str, data_dir: str | None = None, feed: str = "auto") -> Dataset:
    """Stands in for `cdis.data.load`."""
    del name, data_dir
    factors = np.array(list(itertools.product(*map(range, INFO.factor_sizes))), np.int32)
    images = np.random.default_rng(0).integers(0, 256, (len(factors), *INFO.image_shape), np.uint8)
    index = np.arange(len(factors))
    splits = {"train": index[:36], "validation": index[36:42], "test": index[42:]}
    if feed == "records":
        source = functools.partial(_open_split, [png.encode(image) for image in images])
        images: Any = Records(
            "toy", source, np.zeros(len(images), np.uint8), index, INFO.image_shape
        )
    return Dataset(INFO, images, factors, splits, factors.astype(np.float32), feed)


def _open_split(contents: list[bytes], split: int) -> Callable[[list[int]], list[bytes]]:
    del split
    return lambda places: [contents[place] for place in places]


def get_config() -> ConfigDict:
    config = common()
    config.update(method="toy_method", log_every=4, validate_every=8, checkpoint_every=6)
    config.validation_batches = 2
    config.data.name = "toy"
    config.stages.autoencoder = stage(
        steps=20, batch_size=8, learning_rate=1e-2, schedule="cosine", warmup_steps=3, clip_norm=1.0
    )
    config.stages.actions = stage(
        steps=16,
        batch_size=8,
        learning_rate=3e-3,
        schedule="exponential",
        decay_per_epoch=0.9,
        weight_decay=1e-3,
    )
    config.model.width = 5
    config.model.nan_at = -1  # step of the first stage at which the loss becomes NaN
    return config.lock()


def make(config: ConfigDict, info: Info) -> Method:
    size, width = int(np.prod(info.image_shape)), config.model.width

    def flat(images):
        return images.reshape(len(images), -1).astype(jnp.float32) / 127.5 - 1

    def init(key, batch):
        del batch
        down, up, head = jax.random.split(key, 3)
        return {
            "params": {
                "encoder": {"kernel": 0.1 * jax.random.normal(down, (size, width))},
                "decoder": {"kernel": 0.1 * jax.random.normal(up, (width, size))},
                "head": {"kernel": 0.1 * jax.random.normal(head, (width, info.num_actions))},
            },
            "average": {"image": jnp.zeros(size), "count": jnp.zeros((), jnp.int32)},
        }

    def autoencoder(variables, batch, context):
        step, axis_name = context.step, context.axis_name
        traces.append("autoencoder")
        images, params = flat(batch["x"]["image"]), variables["params"]
        decoded = images @ params["encoder"]["kernel"] @ params["decoder"]["kernel"]
        loss = jnp.mean((decoded - images) ** 2)
        loss = jnp.where(step == config.model.nan_at, jnp.nan, loss)
        mean, count = images.mean(0), jnp.int32(len(images))
        if axis_name:
            mean, count = lax.pmean(mean, axis_name), lax.psum(count, axis_name)
        average = variables["average"]
        return loss, Aux(
            {"pixel": jnp.mean(jnp.abs(decoded - images)), "brightness": jnp.mean(images)},
            {
                "average": {
                    "image": 0.9 * average["image"] + 0.1 * mean,
                    "count": average["count"] + count,
                }
            },
        )

    def encode(variables, images):
        return {"code": flat(images) @ variables["params"]["encoder"]["kernel"]}

    def actions(variables, batch, context):
        del context
        traces.append("actions")
        # The encoder trains here too, so codes recomputed on resuming would differ.
        kernel = variables["params"]["head"]["kernel"]
        logits = (batch["y"]["code"] - batch["x"]["code"]) @ kernel
        logits += jnp.sum(variables["params"]["encoder"]["kernel"])
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["action"]).mean()
        drift = jnp.mean(jnp.square(variables["params"]["encoder"]["kernel"] - 1.0))
        accuracy = jnp.mean(logits.argmax(-1) == batch["action"])
        return loss + drift, Aux({"accuracy": accuracy}, {})

    return Method(
        init=init,
        stages=(
            Stage(
                "autoencoder",
                IMAGES,
                ("image",),
                (Objective(autoencoder, lambda path: path[0] != "head"),),
            ),
            Stage(
                "actions",
                PAIRS,
                ("code",),
                (Objective(actions, lambda path: path[0] != "decoder"),),
                encode,
            ),
        ),
    )
