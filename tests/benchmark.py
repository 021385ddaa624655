"""The causal transition layer beside its literal twin: time, memory and floor (tools/benchmark).

Both do the same work on the same parameters, codes and random numbers, as compiled programs. They
are timed in turn, so that other load on the machine affects both. Memory is what the compiler
plans: arguments, results and temporaries of the largest program, both for the same batch.
"compile" is the processor time that it took to compile the layer's program, in seconds.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import literal_transition
import numpy as np
from jaxtyping import Array

from cdis.memory import keep_freed_memory
from cdis.networks.apply import apply
from cdis.networks.causal_transition import CausalTransition
from cdis.objectives import transition
from cdis.ops import retrieve

# Published weights: gamma times 1, beta, delta and epsilon; and the floor of probabilities.
ACTION, EDGE_PRIOR, GRAPH_SIZE, ORPHANS, FLOOR = 1.5, 0.6, 0.015, 0.15, 1e-4

HEADER = (
    "task        N   ms each    twin  ratio  cpu ms    twin   floor  GFLOP      MB    twin  ratio"
    "  compile"
)


class Case(NamedTuple):
    """A layer, its parameters, and a batch: pairs of one-hot codes and their actions."""

    layer: CausalTransition
    params: Any
    x: Array
    y: Array
    action: Array
    key: Array

    def images(self, count: int) -> "Case":
        """The same for the first `count` images."""
        return self._replace(x=self.x[:count], y=self.y[:count], action=self.action[:count])


def make_case(layer: CausalTransition, batch: int) -> Case:
    """Random codes and fresh parameters."""
    rng = np.random.default_rng(0)
    shape = (batch, layer.num_nodes)
    x, y = (jax.nn.one_hot(rng.integers(0, layer.num_codes, shape), layer.num_codes) for _ in "xy")
    action = jnp.asarray(rng.integers(0, layer.num_actions, batch))
    params = jax.jit(lambda key: layer.init(key, x, "all"))(jax.random.key(0))["params"]
    return Case(layer, params, x, y, action, jax.random.key(1))


def _floored(logits):
    return jnp.maximum(jax.nn.log_softmax(logits, axis=-1), math.log(FLOOR))


def _action_loss(logits, edges, gates, y, key):
    """The published action mode (`cdis.methods.ct_vae`), without dropout."""
    return (
        ACTION * transition.node_cross_entropy(_floored(logits), y)
        + EDGE_PRIOR * transition.random_edge_divergence(key, edges)
        + GRAPH_SIZE * transition.graph_size(gates)
        + ORPHANS * transition.orphan_penalty(edges)
    )


def _log_probabilities(logits, y):
    distances = retrieve.code_distances(_floored(logits), y, over_nodes="mean")
    return jax.nn.log_softmax(_floored(-distances), axis=-1)


class Program(NamedTuple):
    """A function to time, and the costs of its largest compiled part."""

    run: Callable[[], Any]
    memory: int  #: planned, in bytes
    compilation: float  #: processor seconds


def _compiled(function, *args):
    lowered, start = jax.jit(function).lower(*args), time.process_time()
    program, seconds = lowered.compile(), time.process_time() - start
    plan = program.memory_analysis()
    if plan is None:
        raise SystemExit("This backend does not report how much memory a program plans to use.")
    parts = (plan.argument_size_in_bytes, plan.output_size_in_bytes, plan.temp_size_in_bytes)
    return program, (sum(parts), seconds)


def layer_training(case: Case) -> Program:
    """Loss and gradient for one action of each image."""
    layer, params, x, y, action, key = case

    def loss(params, x, y, action, key):
        seen = apply(layer, params, x, action, key=key)
        return _action_loss(seen.logits[:, 0], seen.edges[:, 0], seen.graph[:, 0], y, key)

    arguments = (params, x, y, action, key)
    program, costs = _compiled(jax.value_and_grad(loss), *arguments)
    return Program(lambda: program(*arguments), *costs)


def twin_training(case: Case) -> Program:
    """The same by the twin."""
    layer, params, x, y, action, key = case

    def loss(params, x, y, action, key):
        logits, _, edges, gates = (
            part[:, 0] for part in literal_transition.transition(layer, params, x, action, key=key)
        )
        return _action_loss(logits, edges, gates, y, key)

    arguments = (params, x, y, action, key)
    program, costs = _compiled(jax.value_and_grad(loss), *arguments)
    return Program(lambda: program(*arguments), *costs)


def layer_retrieval(case: Case) -> Program:
    """Log probability of each action between each two images, `[B, A]`."""
    layer, params, x, y, _, key = case

    def log_probabilities(params, x, y, key):
        return _log_probabilities(apply(layer, params, x, "all", key=key).logits, y)

    program, costs = _compiled(log_probabilities, params, x, y, key)
    return Program(lambda: program(params, x, y, key), *costs)


def twin_retrieval(case: Case) -> Program:
    """The same by one forward pass of the twin for each action."""
    layer, params, x, y, action, key = case
    sample = jax.jit(lambda key: literal_transition.sample(layer, key, "all", len(x)))
    choose = jax.jit(literal_transition.sample_for)
    noise = jax.eval_shape(lambda: choose(sample(key), 0))

    def logits(params, x, action, noise):
        return literal_transition.of_action(layer, params, x, action, noise)[0]

    forward, costs = _compiled(logits, params, x, action, noise)
    compare = jax.jit(_log_probabilities)
    actions = [jnp.full_like(action, a) for a in range(layer.num_actions)]

    def run():
        sampled = sample(key)
        predicted = [
            forward(params, x, each, choose(sampled, index)) for index, each in enumerate(actions)
        ]
        return compare(jnp.stack(predicted, axis=1), y)

    return Program(run, *costs)


TASKS = {
    "training": (layer_training, twin_training),
    "retrieval": (layer_retrieval, twin_retrieval),
}


def floor_flops(task: str, layer: CausalTransition) -> float:
    """Operations that the equations need for an image (training) or a pair (retrieval).

    Inputs of pairs factorised, the graph without action shared, only the heads computed that are
    read. A pair's feature costs an addition, an absolute value and a multiply-add, and another
    multiply-add if edges have weights. Backward costs twice as much as forward.
    """
    n, k, a = layer.num_nodes, layer.num_codes, layer.num_actions
    looked_at = 1 if task == "training" else a
    networks = 1 + looked_at
    edges = networks * layer.edge_hidden * (2 * n * k * 2 + n * n * 4)
    width, messages = k, 0
    for i, hidden in enumerate(layer.message_hidden):
        features = (layer.message_heads or 1 + a) * hidden
        # The first layer's inputs are the same for all actions.
        messages += (1 if i == 0 else looked_at) * 2 * n * width * features * 2
        messages += looked_at * n * n * features * (6 + 2)
        width = features
    read = 2 * looked_at * k * (2 * n * width * 2 + n * n * (6 + 2))
    return (3 if task == "training" else 1) * float(edges + messages + read)


def _seconds(run: Callable[[], Any]) -> tuple[float, float]:
    """Wall-clock seconds, and seconds of processor time on all cores."""
    start, used = time.perf_counter(), time.process_time()
    jax.block_until_ready(run())
    return time.perf_counter() - start, time.process_time() - used


def matmul_flops(repetitions: int) -> float:
    """Operations a second of a float32 product of two 1024 x 1024 matrices on this machine."""
    a = jax.random.normal(jax.random.key(0), (1024, 1024))
    product = jax.jit(lambda a: a @ a)
    _seconds(lambda: product(a))
    times = [_seconds(lambda: product(a))[0] for _ in range(3 * repetitions)]
    return 2 * 1024**3 / statistics.median(times)


def measure(task: str, case: Case, *, twin_batch: int, repetitions: int) -> dict[str, Any]:
    """Median seconds for an image or a pair, peak bytes, and ratios twin / layer."""
    make_layer, make_twin = TASKS[task]
    batch = len(case.x)
    fast, slow = make_layer(case), make_twin(case.images(twin_batch))
    # Planned memory takes no memory: here the twin may have the layer's batch.
    slow_memory = slow.memory if twin_batch == batch else make_twin(case).memory
    for program in (fast, slow):
        _seconds(program.run)
    rounds = [(_seconds(fast.run), _seconds(slow.run)) for _ in range(repetitions)]
    (ours, used), (twins, twins_used) = (
        [statistics.median(times) / images for times in zip(*program, strict=True)]
        for program, images in zip(zip(*rounds, strict=True), (batch, twin_batch), strict=True)
    )
    return {
        "task": task,
        "nodes": case.layer.num_nodes,
        "seconds": ours,
        "twin_seconds": twins,
        "time_ratio": twins / ours,
        "cpu_seconds": used,
        "twin_cpu_seconds": twins_used,
        "bytes": fast.memory,
        "twin_bytes": slow_memory,
        "memory_ratio": slow_memory / fast.memory,
        "compile_seconds": fast.compilation,
        "floor_flops": floor_flops(task, case.layer),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--nodes", type=int, nargs="+")
    parser.add_argument("--repetitions", type=int)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--codes", type=int, default=64)
    parser.add_argument("--actions", type=int, default=12)
    parser.add_argument("--edge-hidden", type=int, default=800)
    parser.add_argument("--message-hidden", type=int, default=100)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--twin-batch", type=int, default=1)
    options = parser.parse_args()
    options.nodes = options.nodes or ([64] if options.quick else [64, 128])
    options.repetitions = options.repetitions or (2 if options.quick else 5)
    if not 1 <= options.twin_batch <= options.batch:
        parser.error(f"--twin-batch must be between 1 and --batch, {options.batch}")
    return options


def main() -> None:
    """Measure, print a table and write it as JSON if asked."""
    options = _arguments()
    keep_freed_memory()
    device = jax.devices()[0]
    speed = matmul_flops(options.repetitions)
    print(f"{device.platform} {device.device_kind}, {speed / 1e9:.0f} GFLOP/s in matrix products")
    print(
        f"K = {options.codes}, A = {options.actions}, pair hidden {options.edge_hidden}, message "
        f"hidden {options.message_hidden} a head, batch {options.batch} (twin timed with "
        f"{options.twin_batch})\n\n{HEADER}"
    )
    results = []
    for nodes in options.nodes:
        layer = CausalTransition(
            num_nodes=nodes,
            num_codes=options.codes,
            num_actions=options.actions,
            edge_hidden=options.edge_hidden,
            message_hidden=(options.message_hidden,),
        )
        case = make_case(layer, options.batch)
        for task in TASKS:
            found = measure(
                task, case, twin_batch=options.twin_batch, repetitions=options.repetitions
            )
            found["floor_seconds"] = found["floor_flops"] / speed
            results.append(found)
            print(
                "{task:9} {nodes:3} {:9.2f} {:7.0f} {time_ratio:6.1f} {:7.2f} {:7.0f} {:7.2f} "
                "{:6.2f} {:7.0f} {:7.0f} {memory_ratio:6.1f} {compile_seconds:8.1f}".format(
                    1e3 * found["seconds"],
                    1e3 * found["twin_seconds"],
                    1e3 * found["cpu_seconds"],
                    1e3 * found["twin_cpu_seconds"],
                    1e3 * found["floor_seconds"],
                    found["floor_flops"] / 1e9,
                    found["bytes"] / 2**20,
                    found["twin_bytes"] / 2**20,
                    **found,
                ),
                flush=True,
            )
    if options.json:
        machine = {"device": device.device_kind, "matmul_flops": speed}
        sizes = {k: v for k, v in vars(options).items() if k not in ("json", "quick")}
        options.json.write_text(
            json.dumps(machine | {"sizes": sizes, "results": results}, indent=1)
        )


if __name__ == "__main__":
    main()
