"""The supervised ceiling: what it returns, that it learns, and both of its experiments."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import spots

from cdis import data
from cdis.config import load_config
from cdis.errors import UserError
from cdis.methods import pair_classifier
from cdis.methods.base import Context

CONTEXT = Context(jax.random.key(0), jnp.int32(0), None)


@pytest.fixture(scope="module")
def method():
    config = load_config("baselines/pair_classifier_oriented:smoke")
    return pair_classifier.make(config, spots.INFO)


def test_loss_counts_each_pair_in_both_directions(method):
    batch = spots.pairs(np.arange(0, 56, 7))
    variables = method.init(jax.random.key(0), batch)
    reversed_batch = {
        "x": batch["y"],
        "y": batch["x"],
        "action": jnp.asarray(spots.INFO.opposite(np.asarray(batch["action"]))),
    }
    loss = method.stages[0].objectives[0].loss
    first, aux = loss(variables, batch, CONTEXT)
    second, _ = loss(variables, reversed_batch, CONTEXT)
    np.testing.assert_allclose(first, second, rtol=1e-5)
    assert aux.variables == {}

    def cross_entropy(batch):
        probabilities = method.actions.retrieve(variables, batch["x"]["image"], batch["y"]["image"])
        np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)
        return -np.log(np.asarray(probabilities)[np.arange(8), batch["action"]]).mean()

    both = (cross_entropy(batch) + cross_entropy(reversed_batch)) / 2
    np.testing.assert_allclose(first, both, rtol=1e-5)


def test_learns(method):
    batch = spots.pairs(np.arange(len(spots.PAIRS.action)))
    variables = method.init(jax.random.key(0), batch)
    optimiser, loss = optax.adam(1e-2), method.stages[0].objectives[0].loss

    @jax.jit
    def update(variables, state):
        gradient = jax.grad(lambda v: loss(v, batch, CONTEXT)[0])(variables)
        updates, state = optimiser.update(gradient, state)
        return optax.apply_updates(variables, updates), state

    state = optimiser.init(variables)
    for _ in range(100):
        variables, state = update(variables, state)
    answer = method.actions.retrieve(variables, batch["x"]["image"], batch["y"]["image"])
    assert (np.asarray(answer.argmax(-1)) == spots.PAIRS.action).mean() > 0.95


@pytest.mark.parametrize("variant", ["coloured", "oriented"])
def test_experiments(variant):
    name = f"baselines/pair_classifier_{variant}"
    for suffix in ("", ":smoke"):
        config = load_config(f"{name}{suffix}")
        assert config.data.name == f"sprites2d/{variant}"
        assert config.data.name in data.names()
        method = pair_classifier.make(config, data.info(config.data.name))
        assert set(config.stages) == {stage.name for stage in method.stages}
        assert method.actions.retrieve is not None and method.encode is None
    assert load_config(f"{name}:smoke").stages.classifier.steps == 2
    with pytest.raises(UserError, match="has no variant 'tiny': it has none but 'smoke'"):
        load_config(f"{name}:tiny")
