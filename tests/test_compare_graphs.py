"""tools/compare_graphs: which graphs are compared, what is reported, and that the tool runs."""

import json
import sys

import compare_graphs
import numpy as np
import pytest

from cdis.data.pendulum import GRAPH, NAMES


def test_every_edge_is_left_out_and_every_other_one_put_in():
    true = np.array(GRAPH, np.float32)
    found = compare_graphs.graphs(true, NAMES)
    differences = {name: int((graph - true).sum()) for name, graph in found.items()}
    assert differences.pop("true") == 0 and differences.pop("order alone") == 2
    assert sorted(differences.values()) == [-1] * 4 + [1] * 2
    without = found["without light_position -> shadow_length"]
    np.testing.assert_array_equal(np.argwhere(true - without), [[2, 1]])
    assert found["with shadow_length -> shadow_position"][3, 2] == 1
    fewer = compare_graphs.graphs(true, NAMES, most=2)
    assert len(fewer) == 2 + 2 + 2 and fewer.keys() < found.keys()
    assert all(not np.triu(graph).any() for graph in found.values())


def test_a_row_is_the_worst_over_factors_with_effects():
    scores = {
        "truth": "mechanism",
        "do_a": {
            "hit": 0.9,
            "propagation": 0.6,
            "propagation_per_factor": {"b": 0.8, "c": 0.4},
            "drift_per_factor": {},
        },
        "do_b": {
            "hit": 0.8,
            "propagation": 0.7,
            "propagation_per_factor": {"c": 0.7},
            "drift_per_factor": {"a": 0.1},
        },
        "do_c": {
            "hit": -1.0,
            "propagation": None,
            "propagation_per_factor": {},
            "drift_per_factor": {"a": 0.9, "b": 0.9},
        },
    }
    assert compare_graphs.row(scores) == {"hit": 0.8, "propagation": 0.4, "drift": 0.1}


def test_a_workdir_without_a_graph_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["compare_graphs", str(tmp_path)])
    with pytest.raises(Exception, match="is not a workdir"):
        compare_graphs.main()


@pytest.mark.slow
def test_the_tool_runs(tmp_path, monkeypatch, capsys):
    from cdis.config import load_config
    from cdis.training.loop import train

    config = load_config("cauf_vae/pendulum_cpu:smoke")
    train(config, tmp_path / "run")

    def some(true: np.ndarray, names: object, most: object) -> dict[str, np.ndarray]:
        return {"true": true, "order alone": np.tril(np.ones_like(true), -1)}

    monkeypatch.setattr(compare_graphs, "graphs", some)
    out = tmp_path / "scores.json"
    monkeypatch.setattr(sys, "argv", ["compare_graphs", str(tmp_path / "run"), "--json", str(out)])
    assert compare_graphs.main() == 0
    assert set(json.loads(out.read_text())) == {"true", "order alone"}
    assert "order alone: hit" in capsys.readouterr().out
