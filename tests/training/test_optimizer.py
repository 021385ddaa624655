"""Learning-rate schedules in closed form, AdamW's first step and clipping."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from cdis.config import stage
from cdis.training.optimizer import make_optimizer, make_schedule
from cdis.training.state import by_path


def settings(**fields):
    return stage(steps=100, batch_size=4, learning_rate=0.5, **fields)


@pytest.mark.parametrize(
    ("fields", "count", "rate"),
    [
        ({}, 99, 0.5),
        ({"schedule": "cosine"}, 25, 0.25 * (1 + np.cos(np.pi / 4))),
        ({"schedule": "cosine"}, 100, 0.0),
        ({"schedule": "exponential", "decay_per_epoch": 0.9}, 9, 0.5),
        ({"schedule": "exponential", "decay_per_epoch": 0.9}, 29, 0.5 * 0.9**2),
        ({"warmup_steps": 4}, 0, 0.125),
        ({"warmup_steps": 4}, 3, 0.5),
        ({"warmup_steps": 4, "schedule": "cosine"}, 50, 0.25),
    ],
)
def test_schedules(fields, count, rate):
    schedule = make_schedule(settings(**fields), steps_per_epoch=10)
    np.testing.assert_allclose(schedule(count), rate, atol=1e-7)


def test_the_first_step_of_adamw():
    """Adam's first step is the rate times the gradient's sign; weight decay is added to it."""
    params = {"w": jnp.array([2.0, -3.0])}
    optimizer = make_optimizer(settings(weight_decay=0.1), 10)
    updates: Any = optimizer.update({"w": jnp.array([0.3, -7.0])}, optimizer.init(params), params)[
        0
    ]
    np.testing.assert_allclose(updates["w"], -0.5 * np.array([1 + 0.2, -1 - 0.3]), rtol=1e-5)


def test_clipping_bounds_the_global_norm():
    """Adam's update is scale-free, but its first moment is 0.1 times the clipped gradient."""
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    gradients = {"a": jnp.array([30.0]), "b": jnp.array([40.0])}
    optimizer = make_optimizer(settings(clip_norm=1.0), 10)
    _, state = optimizer.update(gradients, optimizer.init(params), params)
    moment = by_path(state)
    np.testing.assert_allclose(
        [moment["1/0/mu/a"][0], moment["1/0/mu/b"][0]], [0.06, 0.08], rtol=1e-5
    )
