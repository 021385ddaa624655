"""Shared by tests of several folders."""

import functools

import jax

#: For programs that run a few times: what they cost is their compilation.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
