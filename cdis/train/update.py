"""The update step and its validation twin, as one device runs them.

Both are functions of (state, batch); `cdis.train.parallel` compiles them for the devices at hand.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from cdis.methods.base import Aux, Batch, Stage
from cdis.train.state import State, merge, split

#: Keys beside those of the steps, which are 0, 1, 2 ...
INIT_KEY = 2**32 - 1
VALIDATION_KEY = 2**32 - 2

Metrics = dict[str, Array]


def seed_key(seed: int) -> Array:
    """The key of a run. Of the backend's own generator, which compiles in a tenth of the time."""
    return jax.random.key(seed, impl="rbg")


def make_update(
    stage: Stage,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    start: int,
    axis_name: str | None,
) -> Callable[[State, Batch], tuple[State, Metrics]]:
    """One step of `optimizer` on the stage's loss; `start` is the stage's first global step.

    With `axis_name` the batch is this device's share: gradients and metrics are averaged over the
    axis, and every device has a key of its own. The loss reduces what it returns in
    ``Aux.variables`` itself, as only it knows means from counts.
    """

    def update(state: State, batch: Batch) -> tuple[State, Metrics]:
        trained, frozen = split(state.variables["params"], stage)
        key = _key(seed, state.step, axis_name)

        def loss(trained: Any) -> tuple[Array, Aux]:
            variables = state.variables | {"params": merge(trained, frozen)}
            return stage.loss(variables, batch, key, state.step - start, axis_name)

        (value, aux), gradients = jax.value_and_grad(loss, has_aux=True)(trained)
        gradients = _mean(gradients, axis_name)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, trained)
        moved: Any = optax.apply_updates(trained, updates)
        variables = state.variables | {"params": merge(moved, frozen)}
        variables |= _first(aux.variables, axis_name)
        metrics = _mean({"loss": value, **aux.metrics}, axis_name)
        squares = jax.tree.map(lambda x: jnp.sum(jnp.square(x)), gradients)
        metrics["gradient_norm"] = jnp.sqrt(sum(jax.tree.leaves(squares)))
        return State(variables, optimizer_state, state.step + 1), metrics

    return update


def make_validate(
    stage: Stage, *, seed: int, start: int, axis_name: str | None
) -> Callable[[State, Batch], Metrics]:
    """The loss and metrics of a batch, always with the same key; nothing is updated."""

    def validate(state: State, batch: Batch) -> Metrics:
        key = _key(seed, VALIDATION_KEY, axis_name)
        value, aux = stage.loss(state.variables, batch, key, state.step - start, axis_name)
        return _mean({"loss": value, **aux.metrics}, axis_name)

    return validate


def _key(seed: int, number: Array | int, axis_name: str | None) -> Array:
    key = jax.random.fold_in(seed_key(seed), number)
    return jax.random.fold_in(key, lax.axis_index(axis_name)) if axis_name else key


def _mean(tree, axis_name: str | None):
    return lax.pmean(tree, axis_name) if axis_name else tree


def _first(tree, axis_name: str | None):
    """The first device's values on every device.

    Reduced statistics are the same everywhere and stay as they are; whatever a loss draws with its
    device's key (a fresh code for a dead one) could differ, and the state must not.
    """
    if not axis_name:
        return tree
    ours = lax.axis_index(axis_name) == 0
    return jax.tree.map(lambda x: lax.psum(jnp.where(ours, x, 0), axis_name).astype(x.dtype), tree)
