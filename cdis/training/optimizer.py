"""The optimiser of a stage, from its settings in the config."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from cdis.errors import UserError
from cdis.methods.base import Stage
from cdis.training.state import split


def make_schedule(settings: ConfigDict, steps_per_epoch: int) -> Callable[[Any], Any]:
    """The learning rate as a function of the step within the stage (see `cdis.config.stage`).

    Raises `UserError` for an unknown schedule.
    """
    rate = settings.learning_rate
    match settings.schedule:
        case "constant":
            base = optax.constant_schedule(rate)
        case "cosine":
            base = optax.cosine_decay_schedule(rate, settings.steps)
        case "exponential":
            base = optax.exponential_decay(
                rate, steps_per_epoch, settings.decay_per_epoch, staircase=True
            )
        case other:
            raise UserError(
                f"The learning-rate schedule {other!r} in the config is unknown; "
                'use "constant", "cosine" or "exponential".'
            )
    if not settings.warmup_steps:
        return base
    return lambda count: base(count) * jnp.minimum(1.0, (count + 1) / settings.warmup_steps)


def make_optimizer(settings: ConfigDict, steps_per_epoch: int) -> optax.GradientTransformation:
    """AdamW (Loshchilov and Hutter 2019), after clipping of the gradient's norm if it is set."""
    adamw = optax.adamw(
        make_schedule(settings, steps_per_epoch), weight_decay=settings.weight_decay
    )
    if not settings.clip_norm:
        return adamw
    return optax.chain(optax.clip_by_global_norm(settings.clip_norm), adamw)


def make_optimizers(
    stage: Stage, settings: ConfigDict, steps_per_epoch: int
) -> tuple[optax.GradientTransformation, ...]:
    """An optimiser for each objective of `stage`: its own, or else `make_optimizer`."""
    makers = (objective.optimizer or make_optimizer for objective in stage.objectives)
    return tuple(make(settings, steps_per_epoch) for make in makers)


def init_optimizers(
    stage: Stage, optimizers: tuple[optax.GradientTransformation, ...], params: Any
) -> tuple[Any, ...]:
    """The initial state of each optimiser of `make_optimizers`."""
    pairs = zip(stage.objectives, optimizers, strict=True)
    return tuple(optimizer.init(split(params, objective)[0]) for objective, optimizer in pairs)
