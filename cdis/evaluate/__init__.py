"""Measures what a workdir holds, on images that it never trained on: workdir -> metrics.json."""

import io
import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cdis import data
from cdis.data.info import Dataset
from cdis.evaluate import actions, causal, reconstruction, representations
from cdis.evaluate.images import MAX_INTERVENED, Progress, sample, squared_error
from cdis.files import write_bytes
from cdis.methods.base import Method, Variables
from cdis.metrics import factor_predictor as predictors
from cdis.train.checkpoint import full_disk_is_the_users, restore
from cdis.train.loop import make_method

METRICS = "metrics.json"
ARRAYS = "evaluation.npz"


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
    restored = restore(workdir)
    config, variables, step = restored.config, restored.variables, restored.step
    dataset = data.load(config.data.name, data_dir)
    method = make_method(config, dataset.info)
    predictor = None
    discrete = all(dataset.info.factor_sizes)
    if discrete and (method.decode is not None or method.actions.intervene is not None):
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
    timing = {"train_seconds": restored.train_seconds} | metrics.pop("timing", {})
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
    factors = method.factors
    if method.actions.retrieve is not None:
        metrics |= actions.retrieval(method.actions.retrieve, variables, dataset, progress)
    reconstruct = reconstruction.reconstruct(method, variables)
    if reconstruct is not None:
        metrics |= reconstruction.measure(reconstruct, dataset, predictor, arrays, progress)
    information = None
    if method.encode is not None and method.codes is not None:
        result, information = representations.codes(method, variables, dataset, progress)
        metrics |= result
    if method.encode is not None:
        metrics["disentanglement"], seconds = representations.disentanglement(
            method.encode, variables, dataset, progress
        )
        metrics.setdefault("timing", {})["disentanglement_seconds"] = seconds
    if method.actions.intervene is not None and predictor is not None:
        scores = actions.interventions(
            method.actions.intervene, variables, dataset, predictor, arrays, progress
        )
        if reconstruct is not None:
            chosen = dataset.images[sample(dataset.splits["test"], MAX_INTERVENED)]
            before = squared_error(reconstruct(chosen), chosen)
            scores["mse_before"] = float(before.mean())
        metrics["interventions"] = scores
    if method.encode is not None and method.factors.num_labelled:
        metrics |= causal.labelled(method, variables, dataset, progress)
    if factors.do is not None and mechanism is not None:
        scores = causal.value_interventions(
            factors.do, variables, dataset, mechanism, arrays, progress
        )
        metrics["interventions"] = metrics.get("interventions", {}) | scores
    if factors.structure is not None:
        metrics |= causal.structure(factors.structure, variables, dataset, arrays, progress)
    if method.elbo is not None:
        metrics |= causal.elbo(method.elbo, variables, dataset, progress)
    if method.encode is not None and dataset.info.value_std is not None:
        metrics |= representations.downstream(method, variables, dataset, progress)
    if method.actions.describe is not None:
        metrics |= actions.graph(
            method.actions.describe, variables, dataset, information, arrays, progress
        )
    return metrics, arrays
