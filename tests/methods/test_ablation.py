"""The ladder from published to ours: one change a rung, ends that meet, variants that train."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spots

from cdis import methods
from cdis.config import differences, load_config
from cdis.errors import UserError

NAME = "ct_vae/ablation"
RUNGS = ("networks", "rate", "sum", "table", "gates", "joint", "sharing", "consistency")
BESIDE = ("symmetric", "normal")
#: What changes from the rung above.
CHANGES = {
    "rate": {"stages.joint.learning_rate", "stages.transition.learning_rate"},
    "sum": {"model.retrieval.over_nodes"},
    "table": {
        f"model.{field}"
        for field in ("transition.mask", "transition.mask_start", "transition.edge_start")
    }
    | {"model.weights.mask"},
    "gates": {"model.gates"},
    "joint": {"model.ramps.transitions"},
    "sharing": {"model.weights.sharing"},
    "consistency": {"model.weights.consistency"},
    "symmetric": {"model.images"},
    "normal": {"model.codes.start"},
}
STEPS = {"stages.joint.steps", "stages.transition.steps"}


def changed(one: str, other: str) -> set[str]:
    """Names of the fields that differ between two experiments."""
    lines = differences(load_config(one), load_config(other))
    return {line.split(":")[0] for line in lines}


@pytest.mark.parametrize("variant", CHANGES)
def test_a_rung_changes_one_thing(variant):
    above = "" if variant in BESIDE else f":{RUNGS[RUNGS.index(variant) - 1]}"
    assert changed(NAME + above, f"{NAME}:{variant}") == CHANGES[variant]


def test_the_ladder_leads_from_published_to_ours():
    assert not changed(NAME, "ct_vae/published")
    assert changed(f"{NAME}:{RUNGS[-1]}", "ct_vae/quickstart") == STEPS


def test_other_variants_are_refused():
    with pytest.raises(UserError, match="no variant 'nodes'; there are 'networks', 'rate'"):
        load_config(f"{NAME}:nodes")


@pytest.mark.parametrize("variant", [*BESIDE, *RUNGS])
def test_every_smoke_variant_has_losses_with_gradients(variant):
    """Traced, not run: the tests of both methods run what the variants switch between."""
    config = load_config(f"{NAME}:{variant}+smoke")
    method = methods.make(methods.fitted(config, spots.INFO), spots.INFO)
    assert {stage.name for stage in method.stages} == set(config.stages)
    batch = spots.pairs(np.arange(8))
    variables = jax.eval_shape(method.init, jax.random.key(0), batch)
    for stage in method.stages:
        columns = dict(batch)
        if stage.precompute is not None:
            for side in ("x", "y"):
                found = jax.eval_shape(stage.precompute, variables, batch[side]["image"])
                empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), found)
                columns[side] = batch[side] | empty
        run = spots.differentiated(stage, columns)
        value, _, slopes = jax.eval_shape(run, variables, jnp.int32(0))
        assert value.shape == () and slopes
