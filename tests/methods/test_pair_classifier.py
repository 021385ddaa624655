"""The supervised ceiling: what it returns, that it learns, and both of its experiments."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cdis import data
from cdis.config import load_config
from cdis.data import transitions
from cdis.data.info import Info
from cdis.errors import UserError
from cdis.methods import pair_classifier
from cdis.methods.base import Context

EXPERIMENTS = Path(__file__).parents[2] / "experiments" / "baselines"
INFO = Info(
    name="spots",
    factor_names=("column", "row"),
    factor_sizes=(4, 4),
    circular=(False, True),
    image_shape=(16, 16, 1),
    licence="none",
    citation="none",
    description="A square on a grid.",
)


@pytest.fixture(scope="module")
def spots():
    """16 images of a square, and every pair one step apart."""
    factors = np.stack(np.unravel_index(np.arange(16), (4, 4)), 1).astype(np.int32)
    images = np.zeros((16, 16, 16, 1), np.uint8)
    for image, (column, row) in zip(images, factors, strict=True):
        image[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 255
    return images, transitions.build(factors, INFO, np.arange(16))


@pytest.fixture(scope="module")
def method():
    config = load_config(f"{EXPERIMENTS / 'pair_classifier_oriented.py'}:smoke")
    return pair_classifier.make(config, INFO)


def _batch(spots, rows):
    images, pairs = spots
    return {
        "x": {"image": jnp.asarray(images[pairs.x[rows]])},
        "y": {"image": jnp.asarray(images[pairs.y[rows]])},
        "action": jnp.asarray(pairs.action[rows]),
    }


def test_loss_counts_each_pair_in_both_directions(method, spots):
    batch = _batch(spots, np.arange(0, 56, 7))
    variables = method.init(jax.random.key(0), batch)
    reversed_batch = {
        "x": batch["y"],
        "y": batch["x"],
        "action": jnp.asarray(INFO.opposite(np.asarray(batch["action"]))),
    }
    loss, context = (
        method.stages[0].objectives[0].loss,
        Context(jax.random.key(0), jnp.int32(0), None),
    )
    first, aux = loss(variables, batch, context)
    second, _ = loss(variables, reversed_batch, context)
    np.testing.assert_allclose(first, second, rtol=1e-5)
    assert aux.variables == {}

    def cross_entropy(batch):
        probabilities = method.actions.retrieve(variables, batch["x"]["image"], batch["y"]["image"])
        np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)
        return -np.log(np.asarray(probabilities)[np.arange(8), batch["action"]]).mean()

    both = (cross_entropy(batch) + cross_entropy(reversed_batch)) / 2
    np.testing.assert_allclose(first, both, rtol=1e-5)


def test_learns(method, spots):
    images, pairs = spots
    batch = _batch(spots, np.arange(len(pairs.action)))
    variables = method.init(jax.random.key(0), batch)
    optimiser = optax.adam(1e-2)

    context = Context(jax.random.key(0), jnp.int32(0), None)

    @jax.jit
    def update(variables, state):
        gradient = jax.grad(lambda v: method.stages[0].objectives[0].loss(v, batch, context)[0])(
            variables
        )
        updates, state = optimiser.update(gradient, state)
        return optax.apply_updates(variables, updates), state

    state = optimiser.init(variables)
    for _ in range(100):
        variables, state = update(variables, state)
    answer = method.actions.retrieve(variables, images[pairs.x], images[pairs.y]).argmax(-1)
    assert (np.asarray(answer) == pairs.action).mean() > 0.95


@pytest.mark.parametrize("variant", ["coloured", "oriented"])
def test_experiments(variant):
    path = EXPERIMENTS / f"pair_classifier_{variant}.py"
    for suffix in ("", ":smoke"):
        config = load_config(f"{path}{suffix}")
        assert config.data.name == f"sprites2d/{variant}"
        assert config.data.name in data.names()
        method = pair_classifier.make(config, data.info(config.data.name))
        assert set(config.stages) == {stage.name for stage in method.stages}
        assert method.actions.retrieve is not None and method.encode is None
    with pytest.raises(UserError, match="smoke"):
        load_config(f"{path}:tiny")
