"""The networks of a causal flow's nodes: parameters and shapes."""

import flax.linen as nn
import jax.numpy as jnp
from jax.nn import initializers

from cdis.ops.causal_flow import Mechanisms


class Conditioner(nn.Module):
    """A network of two hidden layers for each node, from all nodes to `outputs` numbers, stacked.

    Called without arguments, it returns the weights; the ops apply them and mask non-parents.
    """

    num_nodes: int
    hidden: int
    outputs: int

    @nn.compact
    def __call__(self) -> Mechanisms:
        d, h = self.num_nodes, self.hidden
        scaled = initializers.variance_scaling(1.0, "fan_in", "normal", batch_axis=0)
        # Hidden units bend at different places; with zero biases, nodes would start near-linear.
        bend = initializers.uniform(4.0)
        return Mechanisms(
            self.param("hidden_kernel", scaled, (d, d, h)),
            self.param("hidden_bias", lambda *args: bend(*args) - 2.0, (d, h)),
            self.param("second_kernel", scaled, (d, h, h)),
            self.param("second_bias", initializers.zeros, (d, h), jnp.float32),
            self.param("output_kernel", scaled, (d, h, self.outputs)),
            self.param("output_bias", initializers.zeros, (d, self.outputs), jnp.float32),
        )
