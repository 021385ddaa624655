"""Action retrieval: which action leads from one image to another? (arXiv 2302.00869, section 4)

The prediction of each action is scored against the codes of y; the better it fits, the more likely
the action. One pass predicts the codes under all actions and shares all computation that does not
depend on the action (`cdis.networks.causal_transition`).

Several actions (`search_steps`) are ours; the paper retrieves one.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from cdis.ops.actions import shortest_way


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


class Steps(NamedTuple):
    """The steps of each factor that lead from one image to another; ours."""

    #: signed numbers of steps, such as +2 for two steps up; the shorter way round a circle
    steps: Int[Array, "b f"]
    #: of all sequences of actions that add up to these steps, relative to all that were scored
    probability: Float[Array, " b"]


class _Beam(NamedTuple):
    """The states that a search goes on from; a score of -inf marks an empty place."""

    codes: Int[Array, "b w n"]
    steps: Int[Array, "b w f"]
    score: Float[Array, "b w"]


def search_steps(
    predict_all: Callable[[Float[Array, "b n k"]], Float[Array, "b a n k"]],
    possible: Callable[[Float[Array, "b n k"]], Bool[Array, "b a"]],
    x: Float[Array, "b n k"],
    y: Float[Array, "b n k"],
    *,
    sizes: tuple[int, ...],
    circular: tuple[bool, ...],
    max_steps: int,
    width: int,
    price: float | Array,
) -> Steps:
    """The actions that lead from x to y, by a model of single actions: a beam search. Ours.

    Nothing happened if and only if x and y have the same codes. One action is scored by the mean of
    log p(codes of y | x, action) and log p(codes of x | y, its opposite). The last of several is
    undone on y, so that two predictions meet in the middle: the score of `..., a, b` is

        sum_n log sum_k p(code k of node n | state, a) p(code k of node n | y, opposite of b)

    where the state is x after the actions before a, each of which leads to its most likely codes:
    up to two actions, no prediction has to be cut down to one code. Each action has a price. With
    `log A`, the sequences of n actions share a prior weight of 1, whatever n is, as there are A^n.

    No sequence undoes a step, leaves the range of a factor or goes the longer way round a circle,
    nor has it an action that is not possible: what a model predicts for one is arbitrary.
    The order of actions does not matter, but at the ends of ranges, so that of the states that the
    same steps lead to, one is kept. Up to three steps, a width of 2 F leaves no sequence out.

    Args:
      predict_all: one-hot codes to logits of the codes after each action, A = 2 F.
      possible: one-hot codes to whether each action is possible there.
      x, y: one-hot codes.
      sizes: number of values of each factor.
      circular: whether each factor wraps around.
      max_steps: the most actions to consider, at least 1.
      width: states that are kept after each action.
      price: of an action, in nats.
    """
    chex.assert_rank([x, y], 3)
    chex.assert_equal_shape([x, y])
    num_factors, places = len(sizes), (len(x), width)
    identity = np.eye(num_factors, dtype=np.int32)
    moves = np.concatenate([identity, -identity])
    # Where a sequence may end: at y, or one action before it.
    ends = np.concatenate([np.zeros_like(moves[:1]), moves])
    undone = jnp.roll(jax.nn.softmax(predict_all(y)), num_factors, axis=1)
    goals = jnp.concatenate([y[:, None], undone], axis=1)
    back = _log_overlap("bank,bnk->ban", undone, x)
    # Undoing the last action has to be possible at y.
    undoable = jnp.roll(possible(y), num_factors, axis=1)
    ending = jnp.concatenate([jnp.ones_like(undoable[:, :1]), undoable], axis=1)

    def after(place: tuple[Array, Array]) -> tuple[Array, Array]:
        """Evidence for each action and end, `[B, A, 1 + A]`, and the codes after each action."""
        codes, score = place

        def predicted() -> tuple[Array, Array]:
            one_hot = jax.nn.one_hot(codes, x.shape[-1])
            p = jax.nn.softmax(predict_all(one_hot))
            allowed = possible(one_hot)[..., None] & ending[:, None]
            found = jnp.where(allowed, _log_overlap("bank,benk->baen", p, goals), -jnp.inf)
            return found, jnp.argmax(p, axis=-1).astype(jnp.int32)

        def nothing() -> tuple[Array, Array]:
            return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(predicted))

        return jax.lax.cond(jnp.isfinite(score).any(), predicted, nothing)

    def deepen(beam: _Beam, count: Array) -> tuple[_Beam, tuple[Array, Array]]:
        """The states `count` actions from x, and the scores of all sequences by state and end."""
        # One place after another, in the memory that retrieving one action takes.
        by_place = jax.tree.map(lambda part: part.swapaxes(0, 1), (beam.codes, beam.score))
        log_p, codes = jax.tree.map(lambda part: part.swapaxes(0, 1), jax.lax.map(after, by_place))
        both = (log_p[..., 0] + back[:, None]) / 2
        log_p = log_p.at[..., 0].set(jnp.where(undoable[:, None], both, -jnp.inf))
        steps = shortest_way(beam.steps[:, :, None] + moves, sizes, circular)
        begun = _goes_on(beam.steps, sizes, circular) & jnp.isfinite(beam.score)[..., None]
        finished = _goes_on(steps, sizes, circular) & (count < max_steps)
        possible = jnp.concatenate([jnp.full_like(begun, count == 1)[..., None], finished], axis=-1)
        length = count + np.abs(ends).sum(-1)
        score = jnp.where(begun[..., None] & possible, log_p - price * length, -jnp.inf)
        codes, steps, score = (
            part.reshape(len(x), -1, part.shape[-1]) for part in (codes, steps, score)
        )
        children = _Beam(codes, steps, score.max(-1))
        return jax.vmap(lambda of_image: _best(of_image, width))(children), (steps, score)

    start = _Beam(
        jnp.broadcast_to(jnp.argmax(x, axis=-1)[:, None], (*places, x.shape[1])).astype(jnp.int32),
        jnp.zeros((*places, num_factors), jnp.int32),
        jnp.full(places, -jnp.inf).at[:, 0].set(0.0),
    )
    _, levels = jax.lax.scan(deepen, start, jnp.arange(1, max(max_steps, 2)))
    steps, score = (jnp.moveaxis(part, 0, 1).reshape(len(x), -1, part.shape[-1]) for part in levels)
    no_steps = jnp.where((x == y).all((1, 2), keepdims=True)[..., 0], 0.0, -jnp.inf)
    steps = jnp.concatenate([start.steps[:, :1], steps], axis=1)
    first = jnp.full_like(score[:, :1], -jnp.inf).at[..., 0].set(no_steps)
    return _answer(steps, jnp.concatenate([first, score], axis=1), ends, sizes, circular)


def _log_overlap(
    axes: str, p: Float[Array, "b a n k"], q: Float[Array, "b ... n k"]
) -> Float[Array, "b a ..."]:
    """`sum_n log sum_k p_nk q_nk`; the axes end with n."""
    met = jnp.einsum(axes, p, q)
    return jnp.log(jnp.maximum(met, jnp.finfo(met.dtype).tiny)).sum(-1)


def _answer(
    steps: Int[Array, "b m f"],
    score: Float[Array, "b m e"],
    ends: Int[np.ndarray, "e f"],
    sizes: tuple[int, ...],
    circular: tuple[bool, ...],
) -> Steps:
    """The steps of the best sequence, and their probability."""
    child, end = jnp.divmod(jnp.argmax(score.reshape(len(score), -1), axis=1), score.shape[-1])
    found = jnp.take_along_axis(steps, child[:, None, None], axis=1)[:, 0] + jnp.asarray(ends)[end]
    found = shortest_way(found, sizes, circular)
    every = shortest_way(steps[:, :, None] + ends, sizes, circular)
    same = (every == found[:, None, None]).all(-1)
    p = jax.nn.softmax(score, axis=(1, 2))
    return Steps(found, jnp.sum(p, axis=(1, 2), where=same))


def _goes_on(
    steps: Int[Array, "... f"], sizes: tuple[int, ...], circular: tuple[bool, ...]
) -> Bool[Array, "... a"]:
    """Whether each action leads farther away from x, within the ranges of the factors."""
    there = shortest_way(jnp.stack([steps + 1, steps - 1], axis=-2), sizes, circular)
    farther = jnp.abs(there) == jnp.abs(steps)[..., None, :] + 1
    farther &= jnp.abs(there) < np.array(sizes)
    return farther.reshape(*steps.shape[:-1], -1)


def _best(children: _Beam, width: int) -> _Beam:
    """The `width` best children of an image, one for each number of steps of each factor."""

    def take(score: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        best = jnp.argmax(score)
        same = (children.steps == children.steps[best]).all(-1)
        return jnp.where(same, -jnp.inf, score), (best, score[best])

    _, (best, score) = jax.lax.scan(take, children.score, length=width)
    return _Beam(children.codes[best], children.steps[best], score)
