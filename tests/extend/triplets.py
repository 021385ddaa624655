"""A metric embedding (after Schroff et al. 2015), trained on triplets of images."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from cdis.data.examples import Examples, Rows
from cdis.methods.base import Aux, Method, Objective, Stage
from cdis.ops.images import from_uint8


def find_triplets(dataset, index):
    """Images [P, 3]: the first two agree in the first factor, the third differs in it."""
    kind = dataset.factors[index, 0]
    order = np.argsort(kind, kind="stable")
    triplets = np.stack([order, np.roll(order, 1), np.roll(order, len(order) // 2)], axis=1)
    first, second, third = kind[triplets].T
    return Examples({"x": index[triplets[(first == second) & (first != third)]]}, {})


def make(config, info):
    network = nn.Dense(config.model.width)

    def init(key, batch):
        return {"params": network.init(key, jnp.ones(np.prod(info.image_shape)))}

    def encode(variables, images, values=None) -> dict[str, Any]:
        flat = from_uint8(images).reshape(len(images), -1)
        return {"vectors": network.apply(variables["params"], flat)}

    def loss(variables, batch, context):
        first, second, third = jnp.moveaxis(batch["x"]["image"], 1, 0)
        anchor, near, far = (encode(variables, x)["vectors"] for x in (first, second, third))
        to_near, to_far = (jnp.sum(jnp.square(anchor - x), axis=1) for x in (near, far))
        accuracy = jnp.mean(to_near < to_far)
        return jnp.mean(jnp.maximum(1 + to_near - to_far, 0)), Aux({"accuracy": accuracy}, {})

    triplets = Rows("triplets", find_triplets)
    return Method(init, (Stage("only", triplets, ("image",), (Objective(loss),)),), encode)
