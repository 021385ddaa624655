"""Measures what a workdir holds, on images that it never trained on: workdir -> metrics.json."""

import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from cdis import data
from cdis.data import transitions
from cdis.data.info import Dataset, Info
from cdis.files import write_bytes
from cdis.methods.base import Method, Variables
from cdis.metrics import codes as code_metrics
from cdis.metrics import factor_predictor as predictors
from cdis.metrics import score, table
from cdis.metrics.arrays import UnsuitableData
from cdis.metrics.causal_interventions import intervention_scores as causal_scores
from cdis.metrics.downstream import (
    WEIGHTS,
    distributional_robustness,
    sample_efficiency,
    synthetic_label,
)
from cdis.metrics.graphs import structural_hamming_distance
from cdis.metrics.interventions import intervention_scores, target_factors
from cdis.metrics.labelled_latents import labelled_latents
from cdis.metrics.retrieval import action_retrieval
from cdis.ops.space import tinted
from cdis.train.checkpoint import full_disk_is_the_users, restore, train_seconds
from cdis.train.loop import make_method

METRICS = "metrics.json"
ARRAYS = "evaluation.npz"

#: Above these numbers a seeded sample is measured. All pairs of the small data sets are below.
MAX_PAIRS = 20_000
MAX_IMAGES = 20_000
MAX_INTERVENED = 512  # images; every action is applied to each
MAX_SCORED = 15_000  # images; representations are scored on them
MAX_SCORED_DIMENSIONS = 256  # of vectors; trees on more take minutes
MAX_DOWNSTREAM = 10_000
FEW_LABELS = 100  # of a classifier's training images
MAX_DESCRIBED = 256  # images; every action's graph is averaged over them
#: What is scored of representations: of vectors, and of indices of codes, whose order means
#: nothing, so that only what takes them for symbols is. Seconds on 4,608 images; `cdis score` has
#: the rest.
VECTOR_SCORES = ("dci", "mig", "dcimig", "modularity", "sap", "factor_vae", "irs", "mcc")
CODE_SCORES = ("mig", "dcimig", "modularity", "infomec")
#: Of vectors, where factors are continuous and may cause one another; "r2" is a read-out.
CONTINUOUS_SCORES = ("dci", "mig", "sap", "infomec", "mcc", "r2")
_CHUNK = 128  # of every compiled function, the last chunk padded to it
_SHOWN_RECONSTRUCTIONS = 12
_SHOWN_INTERVENTIONS = 8
_SHOWN_VALUES = 7  # of each factor, for each image shown
VALUES_EACH = 2  # of each factor, that each of `MAX_INTERVENED` images is intervened with
_SEED = 0

Progress = Callable[[str], None]


def evaluate(
    workdir: str | os.PathLike,
    data_dir: str | None = None,
    *,
    predictor_steps: int = predictors.STEPS,
    progress: Progress = print,
) -> dict[str, Any]:
    """Measures the newest checkpoint of `workdir` on the test split of its data set.

    Writes metrics.json, and evaluation.npz with what the report draws, each whole or not at all.
    What the method cannot do is left out. Deterministic but for the timings. The factor predictor
    is kept beside the data (`data_dir`) and shared by all runs on it.

    Raises `UserError` for a workdir without a usable checkpoint; see `cdis.train.checkpoint`.
    """
    workdir = Path(workdir)
    config, variables, step = restore(workdir)
    dataset = data.load(config.data.name, data_dir)
    method = make_method(config, dataset.info)
    predictor = None
    discrete = all(dataset.info.factor_sizes)
    if discrete and (method.decode is not None or method.intervene is not None):
        predictor = predictors.factor_predictor(
            dataset.images,
            dataset.factors,
            dataset.info.factor_sizes,
            train_index=dataset.splits["train"],
            test_index=dataset.splits["test"],
            cache=data.directory(data_dir) / "factor_predictors",
            steps=predictor_steps,
            progress=progress,
        )
    mechanism = data.mechanism(config.data.name)
    metrics, arrays = evaluate_method(method, variables, dataset, predictor, progress, mechanism)
    timing = {"train_seconds": train_seconds(workdir)} | metrics.pop("timing", {})
    metrics = {"step": step, "data": dataset.info.name, "method": config.method} | metrics
    metrics["timing"] = timing
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    with full_disk_is_the_users(workdir):
        write_bytes(workdir / ARRAYS, buffer.getvalue())
        write_bytes(workdir / METRICS, json.dumps(metrics, indent=2, allow_nan=False).encode())
    return metrics


def evaluate_method(
    method: Method,
    variables: Variables,
    dataset: Dataset,
    predictor: predictors.FactorPredictor | None,
    progress: Progress = print,
    mechanism: data.Mechanism | None = None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The metrics of a method in memory, and the arrays that a report draws.

    `predictor` reads discrete factors of images, and `mechanism` values of factors that cause one
    another; without one, nothing that needs it is measured.
    """
    variables = jax.device_put(variables)
    metrics: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    if method.retrieve is not None:
        metrics |= _retrieval(method, variables, dataset, progress)
    reconstruct = _reconstruct(method, variables)
    if reconstruct is not None:
        metrics |= _reconstruction(reconstruct, dataset, predictor, arrays, progress)
    information = None
    if method.encode is not None and method.num_codes is not None:
        result, information = _codes(method, variables, dataset, progress)
        metrics |= result
    if method.encode is not None:
        metrics["disentanglement"], seconds = _disentanglement(
            method.encode, variables, dataset, progress
        )
        metrics.setdefault("timing", {})["disentanglement_seconds"] = seconds
    if method.intervene is not None and predictor is not None:
        scores = _interventions(method, variables, dataset, predictor, arrays, progress)
        if reconstruct is not None:
            chosen = dataset.images[_sample(dataset.splits["test"], MAX_INTERVENED)]
            before = _squared_error(reconstruct(chosen), chosen)
            scores["mse_before"] = float(before.mean())
        metrics["interventions"] = scores
    if method.encode is not None and method.num_labelled is not None:
        metrics |= _labelled(method, variables, dataset, progress)
    if method.intervene_value is not None and mechanism is not None:
        scores = _value_interventions(method, variables, dataset, mechanism, arrays, progress)
        metrics["interventions"] = metrics.get("interventions", {}) | scores
    if method.structure is not None:
        metrics |= _structure(method, variables, dataset, arrays, progress)
    if method.elbo is not None:
        metrics |= _elbo(method, variables, dataset, progress)
    if method.encode is not None and dataset.info.value_std is not None:
        metrics |= _downstream(method, variables, dataset, progress)
    if method.describe is not None:
        metrics |= _graph(method, variables, dataset, information, arrays, progress)
    return metrics, arrays


def _retrieval(
    method: Method, variables: Variables, dataset: Dataset, progress: Progress
) -> dict[str, Any]:
    pairs = transitions.build(dataset.factors, dataset.info, dataset.splits["test"])
    chosen = _sample(np.arange(len(pairs.action)), MAX_PAIRS)
    x, y, action = pairs.x[chosen], pairs.y[chosen], pairs.action[chosen]
    retrieve = jax.jit(method.retrieve)  # type: ignore[arg-type]  # the caller saw that it is there

    def answer(rows: np.ndarray) -> np.ndarray:
        return _in_chunks(
            lambda i: retrieve(variables, dataset.images[x[i]], dataset.images[y[i]]), rows
        )

    answer(np.arange(min(len(x), _CHUNK)))  # compiles
    start = time.perf_counter()
    probabilities = answer(np.arange(len(x)))
    rate = len(x) / (time.perf_counter() - start)
    scores = action_retrieval(probabilities, action, dataset.info.num_factors)
    for name in ("per_action", "per_action_undirected", "per_action_count"):
        scores[name] = _named(dataset.info, scores[name])
    scores["split"], scores["num_pairs_in_split"] = "test", len(pairs.action)
    low, high = scores["directed_interval"]
    progress(
        f"retrieval: {len(x)} test pairs, {scores['directed']:.3f} directed "
        f"({low:.3f} to {high:.3f}), {scores['undirected']:.3f} undirected, {rate:.0f} pairs/s"
    )
    return {"action_retrieval": scores, "timing": {"retrieval_pairs_per_second": rate}}


def _reconstruction(
    reconstruct: Callable[[np.ndarray], np.ndarray],
    dataset: Dataset,
    predictor: predictors.FactorPredictor | None,
    arrays: dict[str, np.ndarray],
    progress: Progress,
) -> dict[str, Any]:
    index = _sample(dataset.splits["test"], MAX_IMAGES)
    images, factors = dataset.images[index], dataset.factors[index]
    reconstructed = reconstruct(images)
    error = _squared_error(reconstructed, images)
    shown = np.sort(np.random.default_rng(_SEED).permutation(len(index))[:_SHOWN_RECONSTRUCTIONS])
    arrays["reconstruction_images"] = images[shown]
    arrays["reconstruction_decoded"] = _as_uint8(reconstructed[shown])
    result: dict[str, Any] = {"mse": float(error.mean()), "split": "test", "num_images": len(index)}
    line = f"reconstruction: {len(index)} test images, mean squared error {result['mse']:.5f}"
    if predictor is not None:
        names = dataset.info.factor_names
        accuracy = predictors.factor_accuracy(predictor.predict(reconstructed), factors)
        result["factor_accuracy"] = float(accuracy.mean())
        result["factor_accuracy_per_factor"] = dict(zip(names, accuracy.tolist(), strict=True))
        real = predictor.real_accuracy
        result["factor_accuracy_real_images"] = float(real.mean())
        result["factor_accuracy_real_images_per_factor"] = dict(
            zip(names, real.tolist(), strict=True)
        )
        line += f", factors read right {accuracy.mean():.3f} (real images {real.mean():.3f})"
    progress(line)
    return {"reconstruction": result}


def _codes(
    method: Method, variables: Variables, dataset: Dataset, progress: Progress
) -> tuple[dict[str, Any], np.ndarray]:
    """Usage on the test split, and what each node knows; every node has a codebook of its own."""
    assert method.num_codes is not None
    encode = _encoder(method, "codes")

    def codes_of(index: np.ndarray) -> np.ndarray:
        return _in_chunks(lambda i: encode(variables, dataset.images[i]), index)

    index = _sample(dataset.splits["test"], MAX_IMAGES)
    codes = codes_of(index)
    usage = code_metrics.code_usage(codes, method.num_codes, method.num_codebooks or codes.shape[1])
    usage |= {"num_codes": method.num_codes, "num_nodes": codes.shape[1], "split": "test"}
    # Over all splits the grid of factors is complete, so that factors do not share information.
    index = _sample(np.arange(len(dataset.images)), MAX_IMAGES)
    information = code_metrics.node_factor_information(
        codes_of(index), dataset.factors[index], method.num_codes, dataset.info.factor_sizes
    )
    progress(
        f"codes: perplexity {usage['perplexity']:.2f} of {method.num_codes} "
        f"({usage['used']:.2f} in use)"
    )
    return {"codes": usage}, information


def _disentanglement(
    encode: Callable[..., dict[str, Any]],
    variables: Variables,
    dataset: Dataset,
    progress: Progress,
) -> tuple[dict[str, Any], float]:
    """Scores of "vectors" (quantised, where a method has codes) and "codes" (their indices).

    Discrete factors are scored on all splits, whose grid of factors is complete: several scores fix
    one factor while all others vary. Continuous ones are on the test split. What cannot be scored,
    such as collapsed codes, has a "reason". The seconds it took are returned apart, since all else
    is deterministic.
    """
    start = time.perf_counter()
    jitted = jax.jit(encode)
    continuous = [size == 0 for size in dataset.info.factor_sizes]
    if any(continuous):
        factors, split, of_vectors = dataset.values, "test", CONTINUOUS_SCORES
        index = _sample(dataset.splits["test"], MAX_SCORED)
    else:
        factors, split, of_vectors = dataset.factors, "all", VECTOR_SCORES
        index = _sample(np.arange(len(dataset.images)), MAX_SCORED)
    example = jitted(variables, dataset.images[np.resize(index, _CHUNK)])
    result: dict[str, Any] = {"split": split, "num_images": len(index)}
    for name, chosen in (("vectors", of_vectors), ("codes", CODE_SCORES)):
        if name not in example:
            continue
        array = _in_chunks(lambda i, name=name: jitted(variables, dataset.images[i])[name], index)
        array = array.reshape(len(array), -1)
        if array.shape[1] > MAX_SCORED_DIMENSIONS:
            reason = (
                f"{array.shape[1]} dimensions; evaluation scores up to {MAX_SCORED_DIMENSIONS}. "
                "Save the representations and use cdis score."
            )
            result[name] = {"reason": reason}
            continue
        try:
            scores = score(array, factors[index], metrics=chosen, continuous=continuous)
        except UnsuitableData as error:
            result[name] = {"reason": str(error)}
            progress(f"disentanglement of {name}: {error}")
            continue
        progress(f"disentanglement of {name}:\n{table(scores)}")
        for entry in scores["metrics"].values():
            entry.pop("seconds", None)
        result[name] = scores
    return result, time.perf_counter() - start


def _interventions(
    method: Method,
    variables: Variables,
    dataset: Dataset,
    predictor: predictors.FactorPredictor,
    arrays: dict[str, np.ndarray],
    progress: Progress,
) -> dict[str, Any]:
    info = dataset.info
    intervene = jax.jit(method.intervene)  # type: ignore[arg-type]  # the caller saw that it is there

    def apply(index: np.ndarray, action: np.ndarray) -> np.ndarray:
        return _in_chunks(
            lambda i: intervene(variables, dataset.images[index[i]], action[i]),
            np.arange(len(index)),
        )

    chosen = _sample(dataset.splits["test"], MAX_INTERVENED)
    index = np.repeat(chosen, info.num_actions)
    action = np.tile(np.arange(info.num_actions, dtype=np.int32), len(chosen))
    target, valid = target_factors(dataset.factors[index], action, info.factor_sizes, info.circular)
    index, action, target = index[valid], action[valid], target[valid]
    images = apply(index, action)
    scores = intervention_scores(
        predictor.predict(images),
        dataset.factors[index],
        action,
        info.factor_sizes,
        info.circular,
        image=index,
    )
    per_action = scores.pop("per_action")
    scores["per_action"] = _named(info, per_action)
    kept = scores.pop("kept_per_factor")
    scores["kept_per_factor"] = dict(zip(info.factor_names, kept, strict=True))
    scores |= {"split": "test", "num_images": len(chosen)}
    truth = _images_of(target, dataset)
    known = truth >= 0
    if known.any():
        error = _squared_error(images[known], dataset.images[truth[known]])
        scores["mse"] = float(error.mean())
        unchanged = _squared_error(
            _as_unit(dataset.images[index[known]]), dataset.images[truth[known]]
        )
        scores["mse_if_nothing_was_done"] = float(unchanged.mean())

    shown = np.random.default_rng(_SEED + 1).permutation(chosen)[:_SHOWN_INTERVENTIONS]
    rows = np.repeat(shown, info.num_actions)
    columns = np.tile(np.arange(info.num_actions, dtype=np.int32), len(shown))
    target, valid = target_factors(dataset.factors[rows], columns, info.factor_sizes, info.circular)
    results = apply(rows, columns)
    right = (predictor.predict(results) == target).all(1)
    grid = (len(shown), info.num_actions)
    arrays["intervention_images"] = dataset.images[shown]
    arrays["intervention_results"] = _as_uint8(results).reshape(*grid, *results.shape[1:])
    arrays["intervention_right"] = right.reshape(grid)
    arrays["intervention_valid"] = valid.reshape(grid)
    progress(
        f"interventions: {len(action)} on {len(chosen)} test images, named factor moved "
        f"{scores['named_factor_moved']:.3f}, each other kept {scores['other_factors_kept']:.3f}, "
        f"all right {scores['all_factors_right']:.3f}"
    )
    return scores


def _graph(
    method: Method,
    variables: Variables,
    dataset: Dataset,
    information: Float[np.ndarray, "nodes factors"] | None,
    arrays: dict[str, np.ndarray],
    progress: Progress,
) -> dict[str, Any]:
    """What each action does to the graph, averaged over the test images where it is possible."""
    info = dataset.info

    @jax.jit
    def describe(variables: Variables, images: Any, action: Any) -> dict[str, Any]:
        graph = method.describe(variables, images, action)  # type: ignore[misc]  # not None here
        change = graph["edges"] - graph["edges_no_action"]
        return graph | {
            "appear": change.clip(0).sum((1, 2)),
            "vanish": (-change).clip(0).sum((1, 2)),
        }

    chosen = _sample(dataset.splits["test"], MAX_DESCRIBED)
    means: list[dict[str, np.ndarray]] = []
    for action in range(info.num_actions):
        actions = np.full(len(chosen), action, np.int32)
        _, valid = target_factors(
            dataset.factors[chosen], actions, info.factor_sizes, info.circular
        )
        index = chosen[valid] if valid.any() else chosen
        sums: dict[str, Any] = {}
        for rows in np.array_split(index, -(-len(index) // _CHUNK)):
            padded = np.resize(rows, _CHUNK)
            graph = describe(variables, dataset.images[padded], np.full(_CHUNK, action, np.int32))
            for name, value in graph.items():
                sums[name] = sums.get(name, 0) + np.asarray(value)[: len(rows)].sum(0)
        means.append({name: value / len(index) for name, value in sums.items()})

    stacked = {name: np.stack([mean[name] for mean in means]) for name in means[0]}
    arrays["mask"] = stacked["mask"].astype(np.float32)
    arrays["edges"] = stacked["edges"].astype(np.float32)
    arrays["edges_no_action"] = stacked["edges_no_action"].mean(0).astype(np.float32)
    hit = stacked["mask"].sum(1)
    result: dict[str, Any] = {
        "split": "test",
        "num_images": len(chosen),
        "num_nodes": stacked["mask"].shape[1],
        "mask_nodes_per_action": _named(info, hit.tolist()),
        "mask_nodes": float(hit.mean()),
        "edges_no_action": float(stacked["edges_no_action"].sum((1, 2)).mean()),
        "edges_that_appear": _named(info, stacked["appear"].tolist()),
        "edges_that_vanish": _named(info, stacked["vanish"].tolist()),
    }
    line = f"graph: an action hits {hit.mean():.1f} of {result['num_nodes']} nodes"
    if information is not None and len(information) == result["num_nodes"]:
        special = code_metrics.specialisation(information)
        result["node_factor_mi"] = information.tolist()
        result["node_specialisation"] = special["score"]
        result["node_specialisation_per_node"] = special["per_node"]
        result["dead_nodes"] = special["dead_nodes"]
        share = _share_on_own_factor(stacked["mask"], information)
        result["mask_on_own_factor"] = _named(info, share)
        if special["score"] is not None:
            line += f", node specialisation {special['score']:.2f}"
    progress(line)
    return {"graph": result}


def _labelled(
    method: Method, variables: Variables, dataset: Dataset, progress: Progress
) -> dict[str, Any]:
    """Latents that stand for factors, against the factors."""
    encode = _encoder(method, "vectors")
    index = _sample(dataset.splits["test"], MAX_IMAGES)
    vectors = _in_chunks(lambda i: encode(variables, dataset.images[i]), index)
    scores = labelled_latents(vectors[:, : method.num_labelled], dataset.values[index])
    scores["r2"] = dict(zip(dataset.info.factor_names, scores["r2"], strict=True))
    scores |= {"split": "test", "num_images": len(index)}
    progress(
        f"labelled latents: R^2 of the worst factor {scores['r2_worst']:.4f}, "
        f"MCC {scores['mcc']:.4f}"
    )
    return {"factors": scores}


def _value_interventions(
    method: Method,
    variables: Variables,
    dataset: Dataset,
    mechanism: data.Mechanism,
    arrays: dict[str, np.ndarray],
    progress: Progress,
) -> dict[str, Any]:
    """do(factor = value) for each factor, against the counterfactuals of the generator.

    Values are those of other test images, so that they spread as the factor does; a counterfactual
    that leaves the frame is left out.
    """
    info = dataset.info
    intervene = jax.jit(method.intervene_value)  # type: ignore[arg-type]  # the caller saw it
    test = dataset.splits["test"]
    rng = np.random.default_rng(_SEED)
    index = np.repeat(_sample(test, MAX_INTERVENED), VALUES_EACH)
    levels = np.linspace(0.05, 0.95, _SHOWN_VALUES)
    shown = np.sort(rng.permutation(test)[:_SHOWN_INTERVENTIONS])
    result: dict[str, Any] = {}
    slides, settings = [], []

    def apply(factor: int, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        return _in_chunks(
            lambda i: intervene(variables, dataset.images[rows[i]], factor, values[i]),
            np.arange(len(rows)),
        )

    for factor, name in enumerate(info.factor_names):
        values = dataset.values[rng.choice(test, len(index)), factor]
        before = dataset.values[index]
        truth = np.asarray(mechanism.counterfactual(before, factor, values))
        inside = np.asarray(mechanism.inside(truth))
        images = apply(factor, index[inside], values[inside])
        read = _in_chunks(
            lambda i, images=images: mechanism.referee(images[i]), np.arange(len(images))
        )
        scores = causal_scores(
            read, truth[inside], factor, np.array(info.graph), np.array(info.value_std)
        )
        for kind in ("propagation_per_factor", "drift_per_factor"):
            scores[kind] = {
                other: x
                for other, x in zip(info.factor_names, scores[kind], strict=True)
                if x is not None
            }
        scores["undefined"] = {info.factor_names[k]: why for k, why in scores["undefined"].items()}
        result[f"do_{name}"] = scores | {"split": "test"}
        progress(f"do({name}): " + told_of_intervention(scores))
        settings.append(np.quantile(dataset.values[test, factor], levels))
        rows, columns = np.repeat(shown, len(levels)), np.tile(settings[-1], len(shown))
        slides.append(apply(factor, rows, columns.astype(np.float32)))
    arrays["do_images"] = dataset.images[shown]
    grid = (info.num_factors, len(shown), len(levels))
    arrays["do_results"] = _as_uint8(np.stack(slides)).reshape(*grid, *info.image_shape)
    arrays["do_values"] = np.stack(settings)
    return result


def told_of_intervention(scores: dict[str, Any]) -> str:
    """The scores of interventions on one factor, in words."""
    parts = [] if scores["hit"] is None else [f"hit {scores['hit']:.3f}"]
    for kind in ("propagation", "drift"):
        told = [f"{name} {x:.3f}" for name, x in scores[f"{kind}_per_factor"].items()]
        parts += [f"{kind} {', '.join(told)}"] if told else []
    return "; ".join(parts)


def _structure(
    method: Method,
    variables: Variables,
    dataset: Dataset,
    arrays: dict[str, np.ndarray],
    progress: Progress,
) -> dict[str, Any]:
    """How strongly each factor moves each other, and how far that is from the true graph."""
    assert method.structure is not None
    index = _sample(dataset.splits["test"], MAX_IMAGES)
    found = jax.device_get(jax.jit(method.structure)(variables, dataset.values[index]))
    arrays["edge_strength"] = np.asarray(found["edge_strength"], np.float32)
    adjacency = np.asarray(found["adjacency"], int)
    result: dict[str, Any] = {
        "edge_strength": arrays["edge_strength"].tolist(),
        "adjacency": adjacency.tolist(),
        "split": "test",
        "num_images": len(index),
    }
    line = f"structure: {adjacency.sum()} edges"
    if dataset.info.graph is not None:
        distance = structural_hamming_distance(adjacency, np.array(dataset.info.graph))
        result["shd"] = distance["distance"]
        result["extra"], result["missing"] = distance["extra"], distance["missing"]
        line += f", SHD {result['shd']} to the true graph"
    progress(line)
    return {"structure": result}


def _elbo(
    method: Method, variables: Variables, dataset: Dataset, progress: Progress
) -> dict[str, Any]:
    """Mean over test images of one sample's bound each, in nats."""
    elbo, key = jax.jit(method.elbo), jax.random.key(_SEED)  # type: ignore[arg-type]  # not None
    index = _sample(dataset.splits["test"], MAX_IMAGES)
    bound = _in_chunks(
        lambda i: elbo(
            variables, dataset.images[i], dataset.values[i], jax.random.fold_in(key, i[0])
        ),
        index,
    )
    progress(f"ELBO: {bound.mean():.1f} nats an image")
    return {"elbo": float(bound.mean())}


def _downstream(
    method: Method, variables: Variables, dataset: Dataset, progress: Progress
) -> dict[str, Any]:
    """What test images' vectors are worth to a classifier, beside the true factors themselves.

    "all" dimensions, "labelled" ones, and "true_factors", which nothing can be expected to beat by
    much. The label is drawn, as published, so that none of them comes near 1; under
    "likelier_label" is the same of the label that is not. The irrelevant attribute of robustness is
    a tint of the whole image, at random; only a method that trained on such images can be expected
    to represent them. Of `robustness`, "all_labels" has agreement 0.8 in training, "few_labels" 0.9
    and `FEW_LABELS` training images.
    """
    index = _sample(dataset.splits["test"], MAX_DOWNSTREAM)
    values = dataset.values[index]
    if values.shape[1] < len(WEIGHTS):
        return {}
    encode = _encoder(method, "vectors")
    plain = _in_chunks(lambda i: encode(variables, dataset.images[i]), index)
    tint = np.random.default_rng(_SEED).integers(0, 2, len(dataset.images))
    lit = _in_chunks(
        lambda i: encode(
            variables, tinted(jnp.asarray(dataset.images[i]), jnp.asarray(tint[i], bool))
        ),
        index,
    )
    parts = {"all": (plain, lit)}
    if (labelled := method.num_labelled) is not None:
        parts["labelled"] = plain[:, :labelled], lit[:, :labelled]
    parts["true_factors"] = values, values
    try:
        measured, likelier = (
            _classified(parts, synthetic_label(values, drawn=drawn), tint[index], title, progress)
            for drawn, title in ((True, "drawn label"), (False, "likelier label"))
        )
    except UnsuitableData as error:
        return {"downstream": {"reason": str(error)}}
    measured |= {"likelier_label": likelier, "split": "test", "num_images": len(index)}
    return {"downstream": measured}


def _classified(
    parts: dict[str, tuple[np.ndarray, np.ndarray]],
    label: Int[np.ndarray, " n"],
    tint: Int[np.ndarray, " n"],
    title: str,
    progress: Progress,
) -> dict[str, Any]:
    """Both downstream tasks of representations of plain and of tinted images."""
    efficiency: dict[str, Any] = {}
    robustness: dict[str, Any] = {}
    for name, (plain, lit) in parts.items():
        if name == "labelled" and plain.shape == parts["all"][0].shape:
            efficiency[name], robustness[name] = efficiency["all"], robustness["all"]
            continue
        efficiency[name] = sample_efficiency(plain, label, few=FEW_LABELS)
        # Of few labels most rows are left to the test: the worst of four groups is a noisy number.
        test_share = max(0.3, 1 - 3 * FEW_LABELS / len(label))
        robustness[name] = {
            "all_labels": distributional_robustness(lit, label, tint),
            "few_labels": distributional_robustness(
                lit, label, tint, agreement_train=0.9, few=FEW_LABELS, test_share=test_share
            ),
        }
        progress(
            f"downstream, {title}, {name.replace('_', ' ')}: sample efficiency "
            f"{efficiency[name]['efficiency']:.3f}; worst group "
            f"{robustness[name]['all_labels']['worst_group']:.3f}, with few labels "
            f"{robustness[name]['few_labels']['worst_group']:.3f}"
        )
    return {"sample_efficiency": efficiency, "robustness": robustness}


def _share_on_own_factor(
    mask: Float[np.ndarray, "actions nodes"], information: Float[np.ndarray, "nodes factors"]
) -> list[float | None]:
    """Share of each action's hits on nodes that know its factor best; None without a hit."""
    own = information.argmax(1) == (np.arange(len(mask)) % information.shape[1])[:, None]
    own &= information.sum(1) > 0
    total = mask.sum(1)
    return [
        float(hits / all_hits) if all_hits > 0 else None
        for hits, all_hits in zip((mask * own).sum(1), total, strict=True)
    ]


def _encoder(method: Method, part: str) -> Callable[..., Any]:
    """One part of what `method.encode` gives, compiled; its callers saw that it is there."""
    encode = method.encode
    assert encode is not None
    return jax.jit(lambda variables, images: encode(variables, images)[part])


def _reconstruct(method: Method, variables: Variables) -> Callable[[np.ndarray], np.ndarray] | None:
    """Images to plain reconstructions in [-1, 1], or None if the method has none."""
    encode, decode = method.encode, method.decode
    if encode is None or decode is None:
        return None
    both = jax.jit(lambda variables, images: decode(variables, encode(variables, images)))
    return lambda images: _in_chunks(lambda i: both(variables, images[i]), np.arange(len(images)))


def _in_chunks(function: Callable[[np.ndarray], Any], rows: Int[np.ndarray, " n"]) -> np.ndarray:
    """`function` of all rows, `_CHUNK` at a time, so that one shape is compiled."""
    results = []
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        results.append(np.asarray(function(np.resize(chunk, _CHUNK)))[: len(chunk)])
    return np.concatenate(results)


def _sample(index: Int[np.ndarray, " n"], most: int) -> Int[np.ndarray, " m"]:
    """All of `index`, or a seeded sample of it in order."""
    if len(index) <= most:
        return index
    return index[np.sort(np.random.default_rng(_SEED).permutation(len(index))[:most])]


def _images_of(factors: Int[np.ndarray, "n f"], dataset: Dataset) -> Int[np.ndarray, " n"]:
    """The image with each row of factors, in any split; -1 where there is none, or several."""
    sizes = dataset.info.factor_sizes
    cell = np.ravel_multi_index(tuple(dataset.factors.T.astype(np.int64)), sizes)
    cells, first, count = np.unique(cell, return_index=True, return_counts=True)
    wanted = np.ravel_multi_index(tuple(factors.T.astype(np.int64)), sizes)
    place = np.searchsorted(cells, wanted).clip(0, len(cells) - 1)
    return np.where((cells[place] == wanted) & (count[place] == 1), first[place], -1)


def _squared_error(decoded: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Mean squared error of each image, with pixels in [0, 1]; `decoded` is in [-1, 1]."""
    difference = (np.clip(decoded, -1, 1) + 1) / 2 - images.astype(np.float32) / 255
    return (difference**2).mean((1, 2, 3))


def _as_unit(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) / 127.5 - 1


def _as_uint8(images: np.ndarray) -> np.ndarray:
    return np.round((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8)


def _named(info: Info, values: list) -> dict[str, Any]:
    return dict(zip(info.action_names, values, strict=True))
