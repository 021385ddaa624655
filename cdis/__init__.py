"""cdis: causal disentanglement in JAX and Flax, as pure functions."""

__version__ = "0.1.0"
