"""The training step and the validation step, as one device runs them.

Both are functions of (state, batch); `cdis.training.parallel` compiles them for the devices in use.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from cdis.methods.base import Aux, Batch, Context, Objective, Stage, Variables
from cdis.training.state import Flat, State, merge, split

#: Folded into the seed's key for other uses than the steps, which fold in 0, 1, 2 ...
INIT_KEY = 2**32 - 1
VALIDATION_KEY = 2**32 - 2

#: In the order in which the losses report them; JAX would sort the keys of an ordinary dict.
Metrics = OrderedDict[str, Array]
#: One for each objective of a stage.
Optimizers = tuple[optax.GradientTransformation, ...]


def seed_key(seed: int) -> Array:
    """The key of a run, for XLA's own generator: it compiles ten times faster than threefry."""
    return jax.random.key(seed, impl="rbg")


def make_update(
    stage: Stage,
    optimizers: Optimizers,
    *,
    seed: int,
    start: int,
    axis_name: str | None,
) -> Callable[[State, Batch], tuple[State, Metrics]]:
    """One step of each optimiser on its objective; `start` is the stage's first global step.

    Objectives take turns in order, each on the variables that the previous ones have updated. With
    `axis_name` the batch is this device's share: gradients and metrics are averaged over the axis,
    and every device has its own key. A loss reduces ``Aux.variables`` over the axis itself, since
    it alone knows which of them are means and which are counts.

    With several objectives the metric "loss" is the sum of their losses; so is "gradient_norm".
    """

    def update(state: State, batch: Batch) -> tuple[State, Metrics]:
        variables, states, metrics = state.variables, [], OrderedDict()
        for i, (objective, optimizer) in enumerate(zip(stage.objectives, optimizers, strict=True)):
            trained, frozen = split(variables["params"], objective)
            context = _context(seed, state.step, state.step - start, i, axis_name)
            loss = partial(_loss_of, objective, variables, frozen, batch, context)
            (value, aux), gradients = jax.value_and_grad(loss, has_aux=True)(trained)
            gradients = _mean(gradients, axis_name)
            updates, optimizer_state = optimizer.update(gradients, state.optimizer[i], trained)
            moved: Any = optax.apply_updates(trained, updates)
            variables = variables | {"params": merge(moved, frozen)}
            variables |= _first(aux.variables, axis_name)
            states.append(optimizer_state)
            squares = jax.tree.map(lambda x: jnp.sum(jnp.square(x)), gradients)
            found = _mean(_metrics(value, aux), axis_name)
            found["gradient_norm"] = jnp.sqrt(sum(jax.tree.leaves(squares)))
            metrics = _together(metrics, found)
        return State(variables, tuple(states), state.step + 1), metrics

    return update


def make_validate(
    stage: Stage, *, seed: int, start: int, axis_name: str | None
) -> Callable[[State, Batch], Metrics]:
    """Losses and metrics of a batch, with a fixed key and without an update."""

    def validate(state: State, batch: Batch) -> Metrics:
        metrics = OrderedDict()
        for i, objective in enumerate(stage.objectives):
            context = _context(seed, VALIDATION_KEY, state.step - start, i, axis_name)
            context = context._replace(training=False)
            value, aux = objective.loss(state.variables, batch, context)
            metrics = _together(metrics, _mean(_metrics(value, aux), axis_name))
        return metrics

    return validate


def _loss_of(
    objective: Objective,
    variables: Variables,
    frozen: Flat,
    batch: Batch,
    context: Context,
    trained: Flat,
) -> tuple[Array, Aux]:
    value, aux = objective.loss(variables | {"params": merge(trained, frozen)}, batch, context)
    return value, aux._replace(metrics=OrderedDict(aux.metrics))


def _metrics(value: Array, aux: Aux) -> Metrics:
    return OrderedDict({"loss": value, **aux.metrics})


def _together(before: Metrics, after: Metrics) -> Metrics:
    """The metrics of two objectives; those that both report, such as the loss, are added."""
    both = {name: before[name] + after[name] for name in before.keys() & after.keys()}
    return before | after | both


def _context(
    seed: int, number: Array | int, step: Array, objective: int, axis_name: str | None
) -> Context:
    key = _key(seed, number, axis_name)
    # The first objective's key is the step's own.
    key = jax.random.fold_in(key, objective) if objective else key
    return Context(key, step, axis_name)


def _key(seed: int, number: Array | int, axis_name: str | None) -> Array:
    key = jax.random.fold_in(seed_key(seed), number)
    return jax.random.fold_in(key, lax.axis_index(axis_name)) if axis_name else key


def _mean(tree: Any, axis_name: str | None) -> Any:
    return lax.pmean(tree, axis_name) if axis_name else tree


def _first(tree: Any, axis_name: str | None) -> Any:
    """The first device's values on every device.

    Reduced statistics already agree. Samples taken with a device's own key (such as a new code in
    place of a dead one) may differ, but the state must be the same everywhere.
    """
    if not axis_name:
        return tree
    ours = lax.axis_index(axis_name) == 0
    return jax.tree.map(lambda x: lax.psum(jnp.where(ours, x, 0), axis_name).astype(x.dtype), tree)
