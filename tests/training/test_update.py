"""The update step against a literal one."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import toy_method

from cdis.methods.base import Context
from cdis.training.optimizer import init_optimizers, make_optimizers
from cdis.training.state import State, by_path
from cdis.training.update import make_update


def test_objectives_take_turns(adversarial):
    """Each moves its own parameters with its own optimiser, after those before it have moved."""
    config, method = adversarial
    (stage,) = method.stages
    optimizers = make_optimizers(stage, config.stages.only, 1)
    batch = {"x": {"image": toy_method.load("toy").images[:8]}}
    variables = method.init(jax.random.key(0), batch)
    state = State(variables, init_optimizers(stage, optimizers, variables["params"]), np.int32(0))
    update = make_update(stage, optimizers, seed=0, start=0, axis_name=None)
    found, metrics = jax.jit(update)(state, batch)

    params, losses = variables["params"], []
    context = Context(jax.random.key(0), jnp.int32(0), None)  # these losses use none of it
    names = (("encoder", "decoder"), ("critic",))
    for objective, optimizer, trained in zip(stage.objectives, optimizers, names, strict=True):
        own = {name: params[name] for name in trained}

        def loss(own, objective=objective, params=params):
            return objective.loss({"params": params | own}, batch, context)[0]

        value, gradients = jax.value_and_grad(loss)(own)
        updates, _ = optimizer.update(gradients, optimizer.init(own), own)
        params = params | optax.apply_updates(own, updates)
        losses.append(value)

    expected = by_path(params)
    for path, leaf in by_path(found.variables["params"]).items():
        np.testing.assert_allclose(leaf, expected[path], rtol=1e-5, atol=1e-7, err_msg=path)
        assert (leaf != by_path(variables["params"])[path]).any(), path
    np.testing.assert_allclose(metrics["loss"], sum(losses), rtol=1e-6)
    assert list(metrics) == ["loss", "error", "gradient_norm"]
