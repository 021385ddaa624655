"""Measurements of methods with codes and actions, right or wrong by construction."""

import itertools
import json

import jax.numpy as jnp
import numpy as np
import pytest
from oracles import INFO, SIZES, STEP, dataset, measured, oracle

from cdis.measure import Subject, action_interventions, action_retrieval, composite_actions
from cdis.methods.base import Actions, Codes, Method
from cdis.trained import Trained


def test_a_perfect_method():
    metrics, arrays = measured(oracle())
    json.dumps(metrics, allow_nan=False)
    retrieval = metrics["action_retrieval"]
    assert retrieval["directed"] == retrieval["undirected"] == 1
    assert set(retrieval["per_action"]) == set(INFO.action_names)
    assert retrieval["num_pairs"] == retrieval["num_pairs_in_split"] > 128
    reconstruction = metrics["reconstruction"]
    assert reconstruction["mse"] == pytest.approx(0, abs=1e-9)
    assert reconstruction["factor_accuracy"] == 1
    assert reconstruction["factor_accuracy_real_images"] == pytest.approx(0.99)
    assert reconstruction["num_images"] == 120
    interventions = metrics["interventions"]
    for name in ("named_factor_moved", "other_factors_kept", "all_factors_right"):
        assert interventions[name] == 1
    assert interventions["mse"] == pytest.approx(0, abs=1e-9)
    assert interventions["mse_before"] == pytest.approx(0, abs=1e-9)
    # A step is STEP grey levels in one of 16 pixels; around the seam of the circle it is more.
    assert interventions["mse_if_nothing_was_done"] > (STEP / 255) ** 2 / 16
    graph = metrics["graph"]
    assert graph["mask_nodes_per_action"] == dict.fromkeys(INFO.action_names, 1)
    assert graph["edges_that_appear"] == dict.fromkeys(INFO.action_names, 0.5)
    assert graph["edges_that_vanish"] == dict.fromkeys(INFO.action_names, 1)
    assert graph["mask_on_own_factor"] == dict.fromkeys(INFO.action_names, 1)
    information = [*np.eye(3), np.zeros(3)]
    np.testing.assert_allclose(graph["node_factor_mi"], information, atol=0.02)
    assert graph["node_specialisation"] == pytest.approx(1, abs=0.02)
    assert graph["dead_nodes"] == 1
    composite = metrics["composite_actions"]
    assert composite["num_answers"] == len(_answers(composite["max_steps"]))
    for name, scores in composite["kinds"].items():
        assert scores["exact"] == 1 and scores["num_pairs"] > 50
        assert scores.get("all_factors_right", 1) == 1
        assert ("num_interventions" in scores) == (name != "one_step")
    np.testing.assert_array_equal(arrays["composite_result"], arrays["composite_y"])
    codes = metrics["codes"]
    np.testing.assert_allclose(codes["per_codebook"], [5, 6, 8, 1], rtol=0.06)
    assert codes["used"] == pytest.approx(np.mean(codes["per_codebook"]) / 8)
    assert metrics["timing"]["retrieval_pairs_per_second"] > 0
    # Codes are 7 less the factors, and a constant.
    disentanglement = metrics["disentanglement"]
    assert (disentanglement["split"], disentanglement["num_images"]) == ("all", SIZES.prod())
    for name, scored in (("vectors", ("mig", "mcc")), ("codes", ("mig", "modularity"))):
        assert tuple(disentanglement[name]["metrics"]) == scored
        for entry in disentanglement[name]["metrics"].values():
            assert entry["scores"]["score"] == pytest.approx(1)
            assert entry["perfect"]["score"] == pytest.approx(1)
            assert "seconds" not in entry
    assert metrics["timing"]["disentanglement_seconds"] > 0
    assert arrays["edges"].shape == (6, 4, 4) and arrays["mask"].shape == (6, 4)
    assert arrays["intervention_results"].shape == (8, 6, 4, 4, 1)


def _answers(max_steps):
    """Steps of (left, right, turn), the shorter way round, up to so many in all."""
    ways = itertools.product(range(-4, 5), range(-5, 6), range(-3, 5))
    return [steps for steps in ways if sum(map(abs, steps)) <= max_steps]


def test_pairs_of_several_steps_are_what_they_say():
    subject = Subject(Trained(oracle(), {}, INFO), dataset())
    for kind in composite_actions.KINDS.values():
        trials = composite_actions._trials(subject, kind)
        assert (np.sort(abs(trials.steps), 1)[:, -kind.factors :] == kind.steps).all()
        assert (abs(trials.steps).sum(1) == kind.factors * kind.steps).all()
        factors = subject.dataset.factors
        target = factors[trials.x] + trials.steps
        target[:, 2] %= 8
        np.testing.assert_array_equal(target, trials.target)
        assert ((target >= 0) & (target < SIZES)).all()
        known = trials.y >= 0
        np.testing.assert_array_equal(factors[trials.y[known]], target[known])
        assert (
            np.isin(trials.y[known], subject.test).all() and np.isin(trials.x, subject.test).all()
        )
        wanted = {tuple(row) for row in factors[subject.test]}
        assert not any(tuple(row) in wanted for row in target[~known])
        rows = np.concatenate([trials.x[:, None], trials.steps], 1)
        assert len(np.unique(rows, axis=0)) == len(rows)


def test_wrong_in_a_known_way():
    metrics, _ = measured(oracle(turn_by=2), {"params": {"shift": np.float32(0.1)}})
    per_action = metrics["interventions"]["per_action"]
    assert per_action["turn+1"]["named_factor_moved"] == 0
    assert per_action["turn-1"]["other_factors_kept"] == 1
    assert per_action["left+1"]["named_factor_moved"] == 1
    composite = metrics["composite_actions"]["kinds"]
    assert composite["one_step"]["exact"] < 1
    for name in ("two_steps", "three_steps"):  # those of the other two factors alone are right
        assert 0.3 < composite[name]["all_factors_right"] < 0.8
    # 0.1 in [-1, 1] is 0.05 in [0, 1].
    assert metrics["reconstruction"]["mse"] == pytest.approx(0.05**2, rel=1e-3)


def test_what_a_method_cannot_do_is_left_out():
    method = oracle()
    metrics, arrays = measured(
        Method(method.init, (), actions=Actions(method.actions.retrieve)), predictor=None
    )
    assert set(metrics) == {"action_retrieval", "timing"} and not arrays
    metrics, _ = measured(Method(method.init, (), encode=method.encode, codes=Codes(8, 4)))
    assert set(metrics) == {"codes", "disentanglement", "timing"}
    metrics, _ = measured(
        Method(method.init, (), actions=Actions(describe=method.actions.describe))
    )
    assert "node_factor_mi" not in metrics["graph"]


def test_several_actions_are_asked_of_a_method_that_retrieves_single_ones():
    right = oracle().actions
    retrieve = right.retrieve
    assert retrieve is not None

    def wrong(variables, x, y):
        return jnp.roll(retrieve(variables, x, y), 1, axis=1)

    actions = Actions(wrong, retrieve_steps=right.retrieve_steps)
    metrics, _ = measured(Method(oracle().init, (), actions=actions), predictor=None)
    (reason,) = metrics["composite_actions"].values()
    assert reason.startswith("Single actions are retrieved in 0.00 of cases")


def test_a_large_split_is_sampled(monkeypatch):
    monkeypatch.setattr(action_retrieval, "MAX_PAIRS", 50)
    monkeypatch.setattr(action_interventions, "MAX_INTERVENED", 10)
    first, _ = measured(oracle(turn_by=2))
    second, _ = measured(oracle(turn_by=2))
    assert first["action_retrieval"]["num_pairs"] == 50
    assert first["action_retrieval"]["num_pairs_in_split"] > 50
    assert first["interventions"]["num_images"] == 10
    del first["timing"], second["timing"]
    assert first == second, "evaluation is deterministic"
