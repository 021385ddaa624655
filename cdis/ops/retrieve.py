"""Action retrieval: which action leads from one image to another? (arXiv 2302.00869, section 4)

The prediction of each action is scored against the codes of y; the better it fits, the more likely
the action. One pass predicts the codes under all actions and shares all computation that does not
depend on the action (`cdis.networks.causal_transition`).
"""

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def code_distances(
    logits: Float[Array, "b a n k"],
    target: Float[Array, "b n k"],
    *,
    over_nodes: str,
) -> Float[Array, "b a"]:
    """`d_k`: cross-entropy of the codes predicted under action k against y's one-hot codes.

    Args:
      over_nodes: "mean" (published) or "sum". By the chain rule, the sum is the negative
        log-likelihood of y's codes, so its softmin is Bayes' rule with equal priors; the mean
        divides the evidence by N, which leaves the softmin nearly uniform.
    """
    chex.assert_rank([logits, target], [4, 3])
    distances = -jnp.einsum("bank,bnk->ban", jax.nn.log_softmax(logits, axis=-1), target)
    return {"mean": jnp.mean, "sum": jnp.sum}[over_nodes](distances, axis=-1)


def action_log_probabilities(
    distances: Float[Array, "b a"], *, temperature: float | Array = 1.0
) -> Float[Array, "b a"]:
    """`log p(k) = log softmin_k d_k / T`; the answer is its argmax."""
    chex.assert_rank(distances, 2)
    return jax.nn.log_softmax(-distances / temperature, axis=-1)
