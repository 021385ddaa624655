"""From a workdir to metrics.json."""

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cdis import data
from cdis.data.info import Dataset
from cdis.files import write_bytes
from cdis.measure.base import Arrays, Measured, Measurement, Metrics, Progress, Subject, reasons
from cdis.measure.catalogue import MEASUREMENTS
from cdis.metrics import factor_predictor as predictors
from cdis.trained import Trained
from cdis.training.checkpoint import full_disk_is_the_users, restore
from cdis.training.loop import make_method
from cdis.training.workdir import METRICS

ARRAYS = "evaluation.npz"


def evaluate(
    workdir: str | os.PathLike,
    data_dir: str | None = None,
    *,
    predictor_steps: int = predictors.STEPS,
    measurements: Sequence[Measurement] = MEASUREMENTS,
    progress: Progress = print,
) -> Metrics:
    """Measure the newest checkpoint of `workdir` on the test split of its data set.

    Writes metrics.json and, for the figures of the report, evaluation.npz, each atomically.
    Measurements that do not apply to the method are left out. All numbers but the timings are
    deterministic.

    Args:
      workdir: of an earlier `cdis.train`.
      data_dir: where data sets are kept, and the factor predictor that all runs on one share.
      predictor_steps: training steps of the factor predictor.
      measurements: what to measure.
      progress: receives lines of text.

    Returns:
      The content of metrics.json: "step", "data", "method", a section for each measurement and
      "timing".

    Raises:
      UserError: no usable checkpoint; see `cdis.training.checkpoint.restore`.
    """
    workdir = Path(workdir)
    restored = restore(workdir)
    config = restored.config
    dataset = data.load(config.data.name, data_dir)
    subject = Subject(
        Trained(make_method(config, dataset.info), restored.variables, dataset.info),
        dataset,
        mechanism=data.mechanism(config.data.name),
        find_predictor=lambda: _predictor(dataset, data_dir, predictor_steps, progress),
        progress=progress,
    )
    scores, arrays = measure(subject, measurements)
    timing = {"train_seconds": restored.train_seconds} | scores.pop("timing", {})
    metrics = {"step": restored.step, "data": dataset.info.name, "method": config.method}
    metrics |= scores | {"timing": timing}
    with full_disk_is_the_users(workdir):
        write_bytes(workdir / ARRAYS, _npz(arrays))
        write_bytes(workdir / METRICS, json.dumps(metrics, indent=2, allow_nan=False).encode())
    return metrics


def measure(subject: Subject, measurements: Sequence[Measurement] = MEASUREMENTS) -> Measured:
    """All measurements that apply to a method in memory; sections that several fill are merged."""
    metrics: Metrics = {}
    arrays: dict[str, np.ndarray] = {}
    for measurement in measurements:
        if measurement.applies(subject):
            measured = measurement.measure(subject)
            for section, reason in reasons(measured.scores).items():
                subject.progress(f"{section}: not measured. {reason}")
            arrays |= measured.arrays
            for section, scores in measured.scores.items():
                before = metrics.get(section)
                metrics[section] = before | scores if isinstance(before, dict) else scores
    return Measured(metrics, arrays)


def _predictor(
    dataset: Dataset, data_dir: str | None, steps: int, progress: Progress
) -> predictors.FactorPredictor | None:
    """Trains or loads the factor predictor; None if there are no labels to train it on."""
    if not np.isfinite(dataset.values[dataset.splits["train"]]).any(1).any():
        return None
    return predictors.factor_predictor(
        dataset.images,
        dataset.factors,
        dataset.info.factor_sizes,
        values=dataset.values,
        train_index=dataset.splits["train"],
        validation_index=dataset.splits["validation"],
        test_index=dataset.splits["test"],
        cache=data.directory(data_dir) / "factor_predictors",
        steps=steps,
        progress=progress,
    )


def _npz(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
