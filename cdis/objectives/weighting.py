"""The total of a loss with several terms."""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float


def weighted_sum(
    terms: Mapping[str, Float[Array, " b"]], weights: Mapping[str, float]
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """`sum_k weights[k] mean(terms[k])`, and the mean of each term, in the order of the terms."""
    means = {name: term.mean() for name, term in terms.items()}
    total = sum(weights[name] * mean for name, mean in means.items())
    return jnp.asarray(total), means
