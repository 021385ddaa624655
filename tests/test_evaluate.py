"""Evaluation of methods that are right, or wrong in a known way, by construction."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from cdis import evaluate as evaluation
from cdis.config import common
from cdis.data.info import Dataset, Info
from cdis.data.mechanism import Mechanism
from cdis.evaluate import actions, causal, evaluate, evaluate_method, representations
from cdis.methods.base import ActionGraph, Actions, Codes, FactorGraph, Factors, Method
from cdis.metrics import downstream
from cdis.metrics.factor_predictor import FactorPredictor

INFO = Info(
    name="bars",
    factor_names=("left", "right", "turn"),
    factor_sizes=(5, 6, 8),
    circular=(False, False, True),
    image_shape=(4, 4, 1),
    licence="none",
    citation="none",
    description="The first three pixels are the factors.",
)
SIZES = np.array(INFO.factor_sizes)
STEP = 30  # grey levels between two values of a factor


def draw(factors):
    images = np.zeros((len(factors), 4, 4, 1), np.uint8)
    images[:, 0, :3, 0] = STEP * factors
    return images


def read(images):
    """The factors of images in [-1, 1] or uint8."""
    if images.dtype == np.uint8:
        images = images.astype(np.float32) / 127.5 - 1
    return ((images[:, 0, :3, 0] + 1) * 127.5 / STEP).round().astype(np.int32)


def dataset():
    factors = np.stack(np.unravel_index(np.arange(SIZES.prod()), tuple(SIZES)), 1).astype(np.int32)
    order = np.random.default_rng(0).permutation(len(factors))
    cuts = np.split(order, [100, 120])
    splits = {
        name: np.sort(cut) for name, cut in zip(("train", "validation", "test"), cuts, strict=True)
    }
    return Dataset(INFO, draw(factors), factors, splits, factors.astype(np.float32))


def oracle(turn_by: int = 1) -> Method:
    """A method that reads pixels; `turn_by` is how far its interventions turn "turn"."""

    def factors_of(images):
        return jnp.round(images[:, 0, :3, 0] / STEP).astype(jnp.int32)

    def encode(variables, images, values=None):
        codes = factors_of(images)
        codes = jnp.concatenate([7 - codes, jnp.zeros((len(codes), 1), jnp.int32)], 1)
        return {"vectors": codes.astype(jnp.float32), "codes": codes}

    def decode(variables, representation):
        factors = 7 - representation["codes"][:, :3]
        images = jnp.zeros((len(factors), 4, 4, 1)).at[:, 0, :3, 0].set(STEP * factors)
        return images / 127.5 - 1 + variables["params"]["shift"]

    def retrieve(variables, x, y):
        change = factors_of(y) - factors_of(x)
        change = jnp.where(jnp.abs(change) > 1, -jnp.sign(change), change)  # the circle's seam
        up, down = change == 1, change == -1
        return jnp.concatenate([up, down], 1).astype(jnp.float32)

    def intervene(variables, images, action):
        factors = factors_of(images)
        step = jnp.where(action < 3, 1, -1) * jnp.where(action % 3 == 2, turn_by, 1)
        factors = (factors + step[:, None] * jax.nn.one_hot(action % 3, 3, dtype=int)) % SIZES
        codes = jnp.concatenate([7 - factors, jnp.zeros((len(factors), 1), jnp.int32)], 1)
        return decode(variables, {"codes": codes})

    def describe(variables, images, action):
        mask = jax.nn.one_hot(action % 3, 4)
        without = jnp.broadcast_to(jnp.eye(4), (len(images), 4, 4))
        # The node that is hit loses its own edge and gains one from node 3, half sure.
        edges = without - mask[:, :, None] * jnp.eye(4)
        edges = edges + 0.5 * mask[:, :, None] * jax.nn.one_hot(3, 4)
        return ActionGraph(mask, edges, without)

    def init(key, batch):
        return {"params": {"shift": jnp.zeros(())}}

    return Method(
        init, (), encode, decode, codes=Codes(8, 4), actions=Actions(retrieve, intervene, describe)
    )


VARIABLES = {"params": {"shift": np.float32(0)}}
PREDICTOR = FactorPredictor(read, np.array([1.0, 0.99, 0.98]))


@pytest.fixture(autouse=True)
def _few_scores(monkeypatch):
    """Trees and drawn batches are tested elsewhere."""
    monkeypatch.setattr(representations, "VECTOR_SCORES", ("mig", "mcc"))
    monkeypatch.setattr(representations, "CODE_SCORES", ("mig", "modularity"))
    monkeypatch.setattr(representations, "CONTINUOUS_SCORES", ("sap", "mcc"))


def measure(method: Method, variables=VARIABLES, predictor: FactorPredictor | None = PREDICTOR):
    return evaluate_method(method, variables, dataset(), predictor, lambda line: None)


def test_a_perfect_method():
    metrics, arrays = measure(oracle())
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


def test_wrong_in_a_known_way():
    metrics, _ = measure(oracle(turn_by=2), {"params": {"shift": np.float32(0.1)}})
    per_action = metrics["interventions"]["per_action"]
    assert per_action["turn+1"]["named_factor_moved"] == 0
    assert per_action["turn-1"]["other_factors_kept"] == 1
    assert per_action["left+1"]["named_factor_moved"] == 1
    # 0.1 in [-1, 1] is 0.05 in [0, 1].
    assert metrics["reconstruction"]["mse"] == pytest.approx(0.05**2, rel=1e-3)


def test_what_a_method_cannot_do_is_left_out():
    method = oracle()
    metrics, arrays = measure(
        Method(method.init, (), actions=Actions(method.actions.retrieve)), predictor=None
    )
    assert set(metrics) == {"action_retrieval", "timing"} and not arrays
    metrics, _ = measure(Method(method.init, (), encode=method.encode, codes=Codes(8, 4)))
    assert set(metrics) == {"codes", "disentanglement", "timing"}
    metrics, _ = measure(Method(method.init, (), actions=Actions(describe=method.actions.describe)))
    assert "node_factor_mi" not in metrics["graph"]


# Factors that cause one another: pixel 2 is pixel 0 plus pixel 1, and some noise of its own.

SHADE = Info(
    name="shade",
    factor_names=("left", "right", "sum"),
    factor_sizes=(0, 0, 0),
    circular=(False,) * 3,
    image_shape=(4, 4, 1),
    licence="none",
    citation="none",
    description="The first three pixels are the factors.",
    count=300,
    graph=((0, 0, 0), (0, 0, 0), (1, 1, 0)),
    value_mean=(50.0, 50.0, 110.0),
    value_std=(28.0, 28.0, 41.0),
)


def _counterfactual(values, factor, value):
    changed = np.array(values)
    changed[:, factor] = value
    if factor < 2:
        changed[:, 2] += changed[:, :2].sum(1) - values[:, :2].sum(1)
    return jnp.asarray(changed)


SHADE_MECHANISM = Mechanism(
    counterfactual=_counterfactual,
    render=lambda values: jnp.asarray(shade(np.asarray(values))),
    referee=lambda images: (jnp.asarray(images)[:, 0, :3, 0] + 1) * 127.5,
    # One counterfactual in three is said to leave the frame.
    inside=lambda values: jnp.arange(len(values)) % 3 > 0,
)


def shade(values):
    images = np.zeros((len(values), 4, 4, 1), np.uint8)
    images[:, 0, :3, 0] = np.round(values)
    return images


def shade_dataset():
    rng = np.random.default_rng(0)
    values = rng.uniform(2, 98, (300, 3)).astype(np.float32).round()
    values[:, 2] = values[:, :2].sum(1) + rng.integers(0, 20, 300)
    splits = {name: np.arange(i * 100, i * 100 + 100) for i, name in enumerate(INDEX)}
    return Dataset(SHADE, shade(values), np.zeros((300, 3), np.int32), splits, values)


INDEX = ("train", "validation", "test")


def shade_oracle(follows: bool) -> Method:
    """Reads and draws pixels; under do() the sum follows its causes, or stays as it is."""

    def encode(variables, images, values=None):
        return {"vectors": images[:, 0, :3, 0].astype(jnp.float32)}

    def decode(variables, representation):
        pixels = representation["vectors"]
        return jnp.full((len(pixels), 4, 4, 1), -1.0).at[:, 0, :3, 0].set(pixels / 127.5 - 1)

    def intervene_value(variables, images, factor, value):
        z = encode(variables, images)["vectors"]
        new = jnp.where(jnp.arange(3) == factor, value[:, None], z)
        moved = (new - z)[:, :2].sum(1) * (factor < 2)
        return decode(variables, {"vectors": new.at[:, 2].add(moved if follows else 0.0)})

    def structure(variables, values):
        strength = jnp.zeros((3, 3)).at[2, 0].set(0.9).at[1, 0].set(0.3)
        return FactorGraph(strength, strength > 0)

    return Method(
        lambda key, batch: {"params": {}},
        (),
        encode,
        decode,
        elbo=lambda variables, images, values, key: -values.sum(-1),
        factors=Factors(3, intervene_value, structure),
    )


@pytest.mark.parametrize("follows", [True, False])
def test_causal_factors(follows):
    dataset = shade_dataset()
    metrics, arrays = evaluate_method(
        shade_oracle(follows), {"params": {}}, dataset, None, lambda line: None, SHADE_MECHANISM
    )
    json.dumps(metrics, allow_nan=False)
    assert metrics["factors"]["r2"] == pytest.approx(dict.fromkeys(SHADE.factor_names, 1))
    assert metrics["reconstruction"]["mse"] == pytest.approx(0, abs=1e-9)
    # Latents are scored on what was held out, and these are the factors.
    disentanglement = metrics["disentanglement"]
    assert (disentanglement["split"], disentanglement["num_images"]) == ("test", 100)
    for entry in disentanglement["vectors"]["metrics"].values():
        assert entry["scores"] == pytest.approx(entry["perfect"])
    assert disentanglement["vectors"]["metrics"]["mcc"]["scores"]["score"] == pytest.approx(1)
    assert "downstream" not in metrics  # its label weighs four factors
    test = dataset.values[dataset.splits["test"]]
    assert metrics["elbo"] == pytest.approx(-test.sum(1).mean(), rel=1e-5)
    # One edge is missing and one is too many.
    assert metrics["structure"]["shd"] == 2
    left, right, total = (metrics["interventions"][f"do_{n}"] for n in SHADE.factor_names)
    assert left["count"] == pytest.approx(2 / 3 * 100 * causal.VALUES_EACH, abs=1)
    for scores in (left, right, total):
        assert scores["hit"] == pytest.approx(1, abs=1e-6)
        assert scores["drift"] == pytest.approx(0, abs=1e-6)
    assert set(left["propagation_per_factor"]) == {"sum"}
    assert set(left["drift_per_factor"]) == {"right"}
    assert set(total["drift_per_factor"]) == {"left", "right"} and total["propagation"] is None
    for scores in (left, right):
        assert (scores["propagation"] > 0.999) if follows else (scores["propagation"] < 0.5)
    assert arrays["do_results"].shape == (3, 8, 7, 4, 4, 1)
    # The slides of a factor rise along the columns.
    rising = arrays["do_results"][0, :, :, 0, 0, 0].astype(int)
    assert (np.diff(rising, axis=1) > 0).all()


def _four_shades(count: int = 900) -> Dataset:
    """Four independent factors in the first row's pixels, and a pixel that is always white."""
    info = dataclasses.replace(
        SHADE,
        factor_names=("a", "b", "c", "d"),
        factor_sizes=(0,) * 4,
        circular=(False,) * 4,
        count=count,
        graph=None,
        value_mean=(125.0,) * 4,
        value_std=(72.0,) * 4,
    )
    values = np.random.default_rng(0).uniform(0, 250, (count, 4)).astype(np.float32)
    images = np.zeros((count, 4, 4, 1), np.uint8)
    images[:, 0, :, 0] = np.round(values)
    images[:, 3, 3] = 255
    splits = {name: np.arange(count if name == "test" else 1) for name in INDEX}
    return Dataset(info, images, np.zeros((count, 4), np.int32), splits, values)


def _sees_the_tint(labelled: bool) -> Method:
    """Latents are the factors, whatever the light, and then the light."""

    def encode(variables, images, values=None):
        pixels = images.astype(jnp.float32)
        light = pixels[:, 3, 3]
        return {"vectors": jnp.concatenate([pixels[:, 0, :, 0] / light, light], 1)}

    return Method(
        lambda key, batch: {}, (), encode=encode, factors=Factors(4) if labelled else Factors()
    )


def test_downstream_tasks(monkeypatch):
    # Networks are tested with the tasks themselves; here regressions do.
    monkeypatch.setattr(
        downstream, "_classifier", lambda x, y, seed: LogisticRegression().fit(x, y).predict
    )
    metrics, _ = evaluate_method(_sees_the_tint(True), {}, _four_shades(), None, lambda line: None)
    json.dumps(metrics, allow_nan=False)
    tasks = metrics["downstream"]
    parts = {"all", "labelled", "true_factors"}
    for measured in (tasks, tasks["likelier_label"]):
        for part in parts:
            misled = measured["robustness"][part]
            assert misled["few_labels"]["num_train"] == representations.FEW_LABELS
            assert misled["few_labels"]["agreement_train"] == pytest.approx(0.9, abs=0.01)
            assert misled["all_labels"]["agreement_train"] == pytest.approx(0.8, abs=0.01)
            assert measured["sample_efficiency"][part]["few"] == representations.FEW_LABELS
        assert set(measured["sample_efficiency"]) == set(measured["robustness"]) == parts
        # What sees the tint is misled by it; labelled dimensions are as good as the factors.
        few = {p: s["few_labels"]["worst_group"] for p, s in measured["robustness"].items()}
        assert few["all"] < few["labelled"] - 0.1
        assert few["labelled"] == pytest.approx(few["true_factors"], abs=0.03)
    # A label that is drawn cannot be told for sure, the likelier one can.
    best = tasks["likelier_label"]["sample_efficiency"]["true_factors"]["accuracy_all"]
    assert best > 0.97 > 0.9 > tasks["sample_efficiency"]["true_factors"]["accuracy_all"]


def test_downstream_tasks_of_unlabelled_latents(monkeypatch):
    monkeypatch.setattr(representations, "_classified", lambda parts, *_: {"parts": sorted(parts)})
    metrics, _ = evaluate_method(_sees_the_tint(False), {}, _four_shades(), None, lambda line: None)
    assert metrics["downstream"]["parts"] == ["all", "true_factors"]
    assert "factors" not in metrics
    monkeypatch.undo()
    few = _four_shades(100)
    metrics, _ = evaluate_method(_sees_the_tint(False), {}, few, None, lambda line: None)
    assert "100 rows are too few" in metrics["downstream"]["reason"]


def test_representations_that_cannot_be_scored_say_why(monkeypatch):
    def collapsed(variables, images, values=None):
        return {"vectors": jnp.zeros((len(images), 2, 2)), "codes": images[:, 0, :3, 0] // STEP}

    metrics, _ = measure(Method(oracle().init, (), encode=collapsed))
    assert "constant" in metrics["disentanglement"]["vectors"]["reason"]
    assert metrics["disentanglement"]["codes"]["metrics"]["mig"]["scores"]["score"] > 0.99
    monkeypatch.setattr(representations, "MAX_SCORED_DIMENSIONS", 2)
    metrics, _ = measure(Method(oracle().init, (), encode=collapsed))
    assert "3 dimensions" in metrics["disentanglement"]["codes"]["reason"]


@pytest.mark.slow
def test_the_scores_that_evaluation_chooses(monkeypatch):
    monkeypatch.undo()
    metrics, _ = measure(Method(oracle().init, (), encode=oracle().encode, codes=Codes(8, 4)))
    for name in ("vectors", "codes"):
        for score in metrics["disentanglement"][name]["metrics"].values():
            assert "scores" in score, score.get("reason")


def test_a_large_split_is_sampled(monkeypatch):
    monkeypatch.setattr(actions, "MAX_PAIRS", 50)
    for module in (evaluation, actions):
        monkeypatch.setattr(module, "MAX_INTERVENED", 10)
    first, _ = measure(oracle(turn_by=2))
    second, _ = measure(oracle(turn_by=2))
    assert first["action_retrieval"]["num_pairs"] == 50
    assert first["action_retrieval"]["num_pairs_in_split"] > 50
    assert first["interventions"]["num_images"] == 10
    del first["timing"], second["timing"]
    assert first == second, "evaluation is deterministic"


def test_workdir_gets_whole_files(monkeypatch, tmp_path):
    fake_workdir(monkeypatch, tmp_path)
    metrics = evaluate(tmp_path, progress=lambda line: None)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert metrics["step"] == 7 and metrics["timing"]["train_seconds"] == 61.5
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.json", "evaluation.npz"}

    before = (tmp_path / "metrics.json").read_bytes()
    monkeypatch.setattr(evaluation, "evaluate_method", _fails)
    with pytest.raises(RuntimeError):
        evaluate(tmp_path, progress=lambda line: None)
    assert (tmp_path / "metrics.json").read_bytes() == before


def _fails(*_):
    raise RuntimeError("half-way")


def fake_workdir(monkeypatch, workdir, method=None):
    """Makes `evaluate` find an oracle, whatever the workdir holds."""
    config = common()
    config.method, config.data.name = "oracle", "bars"
    monkeypatch.setattr(evaluation, "restore", lambda _: (config, VARIABLES, 7))
    monkeypatch.setattr(evaluation, "train_seconds", lambda _: 61.5)
    monkeypatch.setattr(evaluation, "make_method", lambda *_: method or oracle())
    monkeypatch.setattr(evaluation.data, "load", lambda *_: dataset())
    monkeypatch.setattr(evaluation.data, "info", lambda _: INFO)
    monkeypatch.setattr(evaluation.data, "mechanism", lambda _: None)
    monkeypatch.setattr(evaluation.predictors, "factor_predictor", lambda *_, **__: PREDICTOR)
