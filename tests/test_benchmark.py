"""tools/benchmark: the layer and its twin give equal results, and the script runs."""

import json
import subprocess
import sys
from pathlib import Path

import benchmark
import jax
import numpy as np
import pytest

from cdis.networks.causal_transition import CausalTransition

TINY = CausalTransition(num_nodes=4, num_codes=5, num_actions=2, edge_hidden=6, message_hidden=(3,))


@pytest.mark.parametrize("task", benchmark.TASKS)
def test_layer_and_twin_give_the_same(task):
    case = benchmark.make_case(TINY, 3)
    layer, twin = (jax.tree.leaves(make(case).run()) for make in benchmark.TASKS[task])
    for found, expected in zip(layer, twin, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
        assert np.abs(found).max() > 1e-4


def test_floor_at_the_published_sizes():
    # Counted by hand: 0.16 GFLOP forward, thrice that with backward; all 12 actions 1.43.
    layer = CausalTransition(num_nodes=64, num_codes=64, num_actions=12)
    assert benchmark.floor_flops("training", layer) == pytest.approx(0.49e9, rel=0.02)
    assert benchmark.floor_flops("retrieval", layer) == pytest.approx(1.43e9, rel=0.02)


def test_it_runs(tmp_path):
    sizes = "--nodes 4 --codes 5 --actions 2 --edge-hidden 6 --message-hidden 3 --batch 3"
    script, out = Path(benchmark.__file__), tmp_path / "out.json"
    command = [sys.executable, script, *sizes.split(), "--repetitions", "1", "--json", out]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert [row["task"] for row in found["results"]] == list(benchmark.TASKS)
    for row in found["results"]:
        assert row["time_ratio"] == pytest.approx(row["twin_seconds"] / row["seconds"])
        assert row["memory_ratio"] > 0 and row["floor_seconds"] > 0 and row["compile_seconds"] > 0
        assert f"{row['task']:9}   4" in done.stdout
