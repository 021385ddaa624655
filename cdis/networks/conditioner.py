"""The networks of a causal flow's nodes: parameters and shapes."""

import flax.linen as nn
import jax.numpy as jnp
from jax.nn import initializers

from cdis.ops.causal_flow import Mechanisms


class Conditioner(nn.Module):
    """One hidden layer for each of `num_nodes` nodes, stacked, from all nodes to `outputs` numbers.

    Called without arguments; the graph that cuts nodes off their non-parents is given to the ops.
    """

    num_nodes: int
    hidden: int
    outputs: int

    @nn.compact
    def __call__(self) -> Mechanisms:
        d, h = self.num_nodes, self.hidden
        scaled = initializers.variance_scaling(1.0, "fan_in", "normal", batch_axis=0)
        # Units that bend at different places: with all bends at zero a node starts almost linear.
        bend = initializers.uniform(4.0)
        return Mechanisms(
            self.param("hidden_kernel", scaled, (d, d, h)),
            self.param("hidden_bias", lambda *args: bend(*args) - 2.0, (d, h)),
            self.param("output_kernel", scaled, (d, h, self.outputs)),
            self.param("output_bias", initializers.zeros, (d, self.outputs), jnp.float32),
        )
