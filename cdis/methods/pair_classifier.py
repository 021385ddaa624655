"""The practical ceiling of action retrieval: a supervised classifier of image pairs.

Not a causal model and not from a paper: it is told every pair's action and has nothing else to
learn, no codes, no graph, no decoder. What it cannot tell between two images, a causal model cannot
be expected to.

One convolutional encoder reads both images to feature maps; the maps of x and y, their difference
and their product go through a few more convolutions to one logit per action. Every pair is also
shown in reverse, as (y, x) with the opposite action.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from cdis.data.examples import PAIRS
from cdis.data.info import Info
from cdis.methods.base import Actions, Aux, Batch, Context, Method, Objective, Stage, Variables
from cdis.ops.actions import factor_of, opposite
from cdis.ops.images import from_uint8


class PairClassifier(nn.Module):
    """Images x and y, float32 in [-1, 1], to logits over actions.

    `first_stride` x `first_stride` pixels become one cell's channels before the first convolution.
    """

    num_actions: int
    first_stride: int
    widths: tuple[int, ...]
    pair_width: int
    hidden: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], y: Float[Array, "b h w c"]) -> Array:
        stride = (self.first_stride, self.first_stride)
        maps = jnp.concatenate([x, y])
        maps = nn.relu(nn.Conv(self.widths[0], stride, strides=stride)(maps))
        for width in self.widths[1:]:
            maps = nn.relu(nn.Conv(width, (3, 3))(maps))
        of_x, of_y = jnp.split(maps, 2)
        pair = jnp.concatenate([of_x, of_y, of_y - of_x, of_x * of_y], -1)
        pair = nn.relu(nn.Conv(self.pair_width, (1, 1))(pair))
        pair = nn.relu(nn.Conv(self.pair_width, (3, 3))(pair))
        # Where things are is among the factors (flattened maps); what they are is told as well
        # wherever they stand (the maximum over places).
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

    def init(key: PRNGKeyArray, batch: Batch) -> Variables:
        image = from_uint8(batch["x"]["image"])
        return {"params": network.init(key, image, image)["params"]}

    def logits(variables: Variables, x: Array, y: Array) -> Float[Array, "b a"]:
        return network.apply({"params": variables["params"]}, from_uint8(x), from_uint8(y))  # type: ignore[return-value]  # Flax types apply for every module at once

    def loss(variables: Variables, batch: Batch, context: Context) -> tuple[Array, Aux]:
        del context  # nothing is random, scheduled or shared between devices
        x, y, action = batch["x"]["image"], batch["y"]["image"], batch["action"]
        scores = logits(variables, jnp.concatenate([x, y]), jnp.concatenate([y, x]))
        truth = jnp.concatenate([action, opposite(action, info.num_factors)])
        value = optax.softmax_cross_entropy_with_integer_labels(scores, truth).mean()
        answer = scores.argmax(-1)
        metrics = {
            "directed": (answer == truth).mean(),
            "undirected": (
                factor_of(answer, info.num_factors) == factor_of(truth, info.num_factors)
            ).mean(),
        }
        return value, Aux(metrics, {})

    def retrieve(variables: Variables, x: Array, y: Array) -> Float[Array, "b a"]:
        return jax.nn.softmax(logits(variables, x, y))

    stage = Stage("classifier", PAIRS, ("image",), (Objective(loss),))
    return Method(init, (stage,), actions=Actions(retrieve=retrieve))
