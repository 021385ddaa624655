"""The update step and its validation twin, as one device runs them.

Both are functions of (state, batch); `cdis.train.parallel` compiles them for the devices at hand.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from cdis.methods.base import Aux, Batch, Context, Objective, Stage, Variables
from cdis.train.state import Flat, State, merge, split

#: Keys beside those of the steps, which are 0, 1, 2 ...
INIT_KEY = 2**32 - 1
VALIDATION_KEY = 2**32 - 2

Metrics = dict[str, Array]
#: One for each objective of a stage.
Optimizers = tuple[optax.GradientTransformation, ...]


def seed_key(seed: int) -> Array:
    """The key of a run. Of the backend's own generator, which compiles in a tenth of the time."""
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

    Objectives take turns in their order, each on the variables that the ones before it left. With
    `axis_name` the batch is this device's share: gradients and metrics are averaged over the
    axis, and every device has a key of its own. A loss reduces what it returns in
    ``Aux.variables`` itself, as only it knows means from counts.

    With several objectives "loss" in the metrics is the sum of their values.
    """

    def update(state: State, batch: Batch) -> tuple[State, Metrics]:
        variables, states, metrics = state.variables, [], {}
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
            found = _mean({"loss": value, **aux.metrics}, axis_name)
            found["gradient_norm"] = jnp.sqrt(sum(jax.tree.leaves(squares)))
            metrics = _together(metrics, found)
        return State(variables, tuple(states), state.step + 1), metrics

    return update


def make_validate(
    stage: Stage, *, seed: int, start: int, axis_name: str | None
) -> Callable[[State, Batch], Metrics]:
    """The losses and metrics of a batch, always with the same key; nothing is updated."""

    def validate(state: State, batch: Batch) -> Metrics:
        metrics = {}
        for i, objective in enumerate(stage.objectives):
            context = _context(seed, VALIDATION_KEY, state.step - start, i, axis_name)
            value, aux = objective.loss(state.variables, batch, context)
            metrics = _together(metrics, _mean({"loss": value, **aux.metrics}, axis_name))
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
    return objective.loss(variables | {"params": merge(trained, frozen)}, batch, context)


def _together(before: Metrics, after: Metrics) -> Metrics:
    """Metrics of two objectives: what both report is added up, such as the loss."""
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

    Reduced statistics are the same everywhere and stay as they are; whatever a loss draws with its
    device's key (a fresh code for a dead one) could differ, and the state must not.
    """
    if not axis_name:
        return tree
    ours = lax.axis_index(axis_name) == 0
    return jax.tree.map(lambda x: lax.psum(jnp.where(ours, x, 0), axis_name).astype(x.dtype), tree)
