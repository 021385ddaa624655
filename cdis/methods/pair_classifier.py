"""The practical ceiling of action retrieval: a supervised classifier of image pairs.

Neither a causal model nor from a paper. It is trained on the action of every pair and learns
nothing else: no codes, no graph, no decoder. Where it cannot infer the action between two images, a
causal model cannot be expected to.

One convolutional encoder maps both images to feature maps; the maps of x and y, their difference
and their product go through a few more convolutions to one logit per action. Every pair is used in
both directions, as (x, y) and as (y, x) with the opposite action.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from cdis.config import common, stage
from cdis.data.examples import PAIRS
from cdis.data.info import Info
from cdis.methods.base import Actions, Aux, Batch, Context, Method, Objective, Stage, Variables
from cdis.networks.apply import apply
from cdis.ops.actions import factor_of, opposite
from cdis.ops.images import from_uint8, pad_to_multiple


def defaults() -> ConfigDict:
    """The complete config, on coloured sprites."""
    config = common()
    config.method = "cdis.methods.pair_classifier"
    config.data.name = "sprites2d/coloured"
    config.validate_every = 250
    config.checkpoint_every = 250
    config.stages.classifier = stage(
        steps=1000,
        batch_size=128,
        learning_rate=2e-3,
        schedule="cosine",
        warmup_steps=100,
        weight_decay=1e-2,
        clip_norm=1.0,
    )
    config.model.first_stride = 4  # pixels
    config.model.widths = (32, 32, 32)  # of the convolutions on one image
    config.model.pair_width = 48  # of the convolutions on a pair
    config.model.hidden = 256
    return config


#: Overrides that make the network tiny.
SMOKE = {"model.widths": (4, 4), "model.pair_width": 4, "model.hidden": 8}


class PairClassifier(nn.Module):
    """Images x and y, float32 in [-1, 1], to logits of actions, `[B, A]`.

    The first convolution has kernel and stride `first_stride`: it maps patches to features.
    """

    num_actions: int
    first_stride: int
    widths: tuple[int, ...]
    pair_width: int
    hidden: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], y: Float[Array, "b h w c"]
    ) -> Float[Array, "b a"]:
        stride = (self.first_stride, self.first_stride)
        maps = pad_to_multiple(jnp.concatenate([x, y]), self.first_stride)
        maps = nn.relu(nn.Conv(self.widths[0], stride, strides=stride)(maps))
        for width in self.widths[1:]:
            maps = nn.relu(nn.Conv(width, (3, 3))(maps))
        of_x, of_y = jnp.split(maps, 2)
        pair = jnp.concatenate([of_x, of_y, of_y - of_x, of_x * of_y], -1)
        pair = nn.relu(nn.Conv(self.pair_width, (1, 1))(pair))
        pair = nn.relu(nn.Conv(self.pair_width, (3, 3))(pair))
        # Positions are among the factors, so flattened maps keep them; other factors show wherever
        # an object stands, so the maximum over places detects them.
        where = nn.relu(nn.Conv(self.pair_width // 2, (3, 3), strides=2)(pair))
        what = nn.Conv(2 * self.pair_width, (1, 1))(pair).max((1, 2))
        hidden = jnp.concatenate([where.reshape(len(where), -1), what], -1)
        hidden = nn.relu(nn.Dense(self.hidden)(hidden))
        return nn.Dense(self.num_actions)(hidden)


def make(config: ConfigDict, info: Info) -> Method:
    """The classifier as a method of one stage, "classifier", that can only retrieve."""
    model = config.model
    network = PairClassifier(
        info.num_actions, model.first_stride, tuple(model.widths), model.pair_width, model.hidden
    )
    objective = Objective(functools.partial(loss, network))
    return Method(
        init=functools.partial(init, network),
        stages=(Stage("classifier", PAIRS, ("image",), (objective,)),),
        actions=Actions(retrieve=functools.partial(retrieve, network)),
    )


def init(network: PairClassifier, key: PRNGKeyArray, batch: Batch) -> Variables:
    """Initial parameters."""
    image = from_uint8(batch["x"]["image"])
    return {"params": network.init(key, image, image)["params"]}


def logits(
    network: PairClassifier,
    variables: Variables,
    x: UInt8[Array, "b h w c"],
    y: UInt8[Array, "b h w c"],
) -> Float[Array, "b a"]:
    """Logits of the actions between two images."""
    return apply(network, variables["params"], from_uint8(x), from_uint8(y))


def loss(
    network: PairClassifier, variables: Variables, batch: Batch, context: Context
) -> tuple[Float[Array, ""], Aux]:
    """Cross-entropy of every pair in both directions."""
    del context  # nothing is random, scheduled or shared between devices
    x, y, action = batch["x"]["image"], batch["y"]["image"], batch["action"]
    num_factors = network.num_actions // 2
    scores = logits(network, variables, jnp.concatenate([x, y]), jnp.concatenate([y, x]))
    truth = jnp.concatenate([action, opposite(action, num_factors)])
    value = optax.softmax_cross_entropy_with_integer_labels(scores, truth).mean()
    answer = scores.argmax(-1)
    same_factor = factor_of(answer, num_factors) == factor_of(truth, num_factors)
    metrics = {"directed": (answer == truth).mean(), "undirected": same_factor.mean()}
    return value, Aux(metrics, {})


def retrieve(
    network: PairClassifier,
    variables: Variables,
    x: UInt8[Array, "b h w c"],
    y: UInt8[Array, "b h w c"],
) -> Float[Array, "b a"]:
    """Probability of each action between two images."""
    return jax.nn.softmax(logits(network, variables, x, y))
