"""Three steps of a method's first stage under every layout, on two devices: OUT.npz METHOD"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "extend"))

import experiment
import jax
import numpy as np
import toy_method

from cdis import methods
from cdis.data.examples import of_images
from cdis.data.pipeline import batches
from cdis.training import parallel
from cdis.training.optimizer import init_optimizers, make_optimizers
from cdis.training.state import State, by_path
from cdis.training.update import make_update, make_validate

out, name = sys.argv[1:]
assert jax.device_count() == 2
config = toy_method.get_config() if name == "toy_method" else experiment.get_config(name)
dataset = toy_method.load("toy")
method = methods.module(config.method).make(config, dataset.info)
stage = method.stages[0]
optimizers = make_optimizers(stage, config.stages[stage.name], 4)
variables = method.init(jax.random.key(0), {})
optimizer_states = init_optimizers(stage, optimizers, variables["params"])
first = jax.device_get(State(variables, optimizer_states, np.int32(0)))  # each layout donates it
results = {}
for name in ("jit", "pmap", "sharding"):
    layout = parallel.choose(name)
    options = {"seed": 0, "start": 0, "axis_name": layout.axis_name}
    update = layout.compile(make_update(stage, optimizers, **options), True)
    validate = layout.compile(make_validate(stage, **options), False)
    state, metrics = layout.put_state(first), {}
    for batch in batches(
        {"image": dataset.images},
        of_images(dataset.splits["train"]),
        batch_size=8,
        seed=0,
        num_batches=3,
    ):
        batch = layout.put_batch(batch)
        metrics = {"validation": validate(state, batch)}
        state, metrics["train"] = update(state, batch)
    found = by_path({"state": state, "metrics": metrics})
    results |= {f"{name}:{path}": np.asarray(leaf) for path, leaf in found.items()}
assert parallel.choose("auto").name == "pmap"
np.savez(out, **results)
