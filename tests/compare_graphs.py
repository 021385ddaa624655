"""Order or graph? Interventions of one trained model with causal flows of other graphs.

Encoder and decoder of an anchored CauF-VAE whose flow is frozen are those of the workdir. For each
graph the causal flow is fitted again to the same labels, with the settings of the workdir's stage
"flow", and takes the place of the trained one. See tools/compare_graphs --help.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from cdis import data, methods
from cdis.config import override
from cdis.errors import UserError
from cdis.files import write_bytes
from cdis.measure import do_interventions
from cdis.measure.base import Subject
from cdis.ops.adjacency import order_only
from cdis.trained import Trained
from cdis.training.checkpoint import restore
from cdis.training.loop import train

Graph = Float[np.ndarray, "f f"]


def graphs(true: Graph, names: tuple[str, ...], most: int | None = None) -> dict[str, Graph]:
    """The true graph and others, by what they are; each wrong graph has one edge too few or many.

    Factors are in topological order. With `most`, there are so many wrong graphs of each kind, at
    equal distances in the order of their edges.
    """

    def some(edges: np.ndarray) -> np.ndarray:
        count = len(edges) if most is None else min(most, len(edges))
        return edges[np.linspace(0, len(edges) - 1, count).round().astype(int)]

    free = np.argwhere((order_only(len(true)) > 0) & (true == 0))
    found = {"true": true, "order alone": order_only(len(true))}
    for child, parent in some(np.argwhere(true)):
        without = true.copy()
        without[child, parent] = 0
        found[f"without {names[parent]} -> {names[child]}"] = without
    for child, parent in some(free):
        more = true.copy()
        more[child, parent] = 1
        found[f"with {names[parent]} -> {names[child]}"] = more
    return found


def measured(
    workdir: Path, graph: Graph, data_dir: str | None, temporary: Path
) -> Mapping[str, Any]:
    """The section "interventions" of the model with a causal flow of `graph`."""
    restored = restore(workdir)
    config = _with_graph(restored.config, graph)
    alone = config.copy_and_resolve_references().unlock()
    alone.stages = ConfigDict({"flow": config.stages.flow})
    with contextlib.redirect_stdout(io.StringIO()):
        train(alone, temporary, data_dir)
    variables = restored.variables
    flow = restore(temporary).variables["params"]["conditioner"]
    variables = variables | {"params": variables["params"] | {"conditioner": flow}}
    dataset = data.load(config.data.name, data_dir)
    method = methods.module(config.method).make(config, restored.info)
    subject = Subject(
        Trained(method, variables, restored.info),
        dataset,
        mechanism=data.mechanism(config.data.name),
        progress=lambda text: None,
    )
    return do_interventions.MEASUREMENT.measure(subject).scores["interventions"]


def _with_graph(config: ConfigDict, graph: Graph) -> ConfigDict:
    config = config.copy_and_resolve_references().unlock()
    override(config, {"model.flow.graph": tuple(map(tuple, graph.astype(int).tolist()))})
    return config


def row(scores: Mapping[str, Any]) -> dict[str, float]:
    """Worst hit and propagation and largest drift over the factors that have effects."""
    causes = [
        x for name, x in scores.items() if name.startswith("do_") and x["propagation"] is not None
    ]
    return {
        "hit": min(x["hit"] for x in causes),
        "propagation": min(min(x["propagation_per_factor"].values()) for x in causes),
        "drift": max(max([0.0, *x["drift_per_factor"].values()]) for x in causes),
    }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--data_dir")
    parser.add_argument("--edges", type=int)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    restored = restore(options.workdir)
    if restored.info.graph is None or "flow" not in restored.config.stages:
        raise UserError(
            f"{options.workdir} has no causal graph or no stage 'flow'. Give the workdir of an "
            "anchored CauF-VAE, such as cauf_vae/pendulum_cpu."
        )
    true = np.array(restored.info.graph, np.float32)
    results = {}
    for name, graph in graphs(true, restored.info.factor_names, options.edges).items():
        with tempfile.TemporaryDirectory() as temporary:
            scores = measured(options.workdir, graph, options.data_dir, Path(temporary) / "flow")
        results[name] = row(scores)
        shown = "  ".join(f"{kind} {x:.3f}" for kind, x in results[name].items())
        print(f"{name}: {shown}", flush=True)
    if options.json:
        write_bytes(options.json, json.dumps(results, indent=2).encode())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"compare_graphs: {error}")
