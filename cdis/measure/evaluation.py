"""From a workdir to metrics.json."""

import io
import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cdis import data, methods
from cdis.data.combinations import as_configured
from cdis.data.info import Dataset, Info
from cdis.errors import UserError
from cdis.files import write_bytes
from cdis.measure.base import Arrays, Measured, Measurement, Metrics, Progress, Subject, reasons
from cdis.measure.catalogue import MEASUREMENTS
from cdis.metrics import factor_predictor as predictors
from cdis.trained import Trained
from cdis.training.checkpoint import full_disk_is_the_users, restore
from cdis.training.workdir import METRICS

ARRAYS = "evaluation.npz"


def evaluate(
    workdir: str | os.PathLike,
    data_dir: str | None = None,
    *,
    name: str | None = None,
    dataset: Dataset | None = None,
    mechanism: data.Mechanism | None = None,
    predictor_steps: int = predictors.STEPS,
    measurements: Sequence[Measurement] = MEASUREMENTS,
    progress: Progress = print,
) -> Metrics:
    """Measure the newest checkpoint of `workdir` on the test split of its data set, or of another.

    Data are split as the config of the run says, other data likewise: see
    `cdis.data.combinations.hold_out`.
    Writes metrics.json and, for the figures of the report, evaluation.npz, each atomically; of data
    with other facts than those trained on, metrics.NAME.json and evaluation.NAME.npz.
    Measurements that do not apply to the method are left out. All numbers but the timings are
    deterministic.

    Args:
      workdir: of an earlier `cdis.train`.
      data_dir: where data sets are kept, and the factor predictor that all runs on one share.
      name: a data set to measure on in place of the one trained on, such as a folder that has
        moved; it has the same factors and image shape.
      dataset: likewise, data in memory.
      mechanism: the causal mechanism behind `dataset`, if it is known.
      predictor_steps: training steps of the factor predictor.
      measurements: what to measure.
      progress: receives lines of text.

    Returns:
      The content of metrics.json: "step", "data", "unseen" (the two factors whose unseen
      combinations are the test split; empty for an ordinary one), "method", "labels_at_evaluation"
      (was the method given the labels of test images?), a section for each measurement and
      "timing".

    Raises:
      UserError: no usable checkpoint (see `cdis.training.checkpoint.restore`), or data that cannot
        be had or do not fit the method.
    """
    workdir = Path(workdir)
    restored = restore(workdir)
    config, info = restored.config, restored.info
    if dataset is None:
        dataset, mechanism = _load(name, config.data.name, data_dir)
    facts, dataset = dataset.info, as_configured(_as_trained_on(info, dataset), config.data)
    subject = Subject(
        Trained(methods.make(config, info), restored.variables, info),
        dataset,
        mechanism=mechanism,
        find_predictor=lambda: _predictor(dataset, data_dir, predictor_steps, progress),
        progress=progress,
    )
    if subject.method.labels_at_evaluation:
        progress("The method is given the labels of the test images, as its config says.")
    scores, arrays = measure(subject, measurements)
    timing = {"train_seconds": restored.train_seconds} | scores.pop("timing", {})
    metrics = {
        "step": restored.step,
        "data": dataset.info.name,
        "unseen": list(dataset.unseen.factors) if dataset.unseen else [],
        "method": config.method,
        "labels_at_evaluation": subject.method.labels_at_evaluation,
    }
    metrics |= scores | {"timing": timing}
    of_data = "" if _same_facts(info, facts) else f".{_as_file_name(dataset.info.name)}"
    for_arrays, for_metrics = (
        path.with_stem(path.stem + of_data) for path in (workdir / ARRAYS, workdir / METRICS)
    )
    with full_disk_is_the_users(workdir):
        write_bytes(for_arrays, _npz(arrays))
        write_bytes(for_metrics, json.dumps(metrics, indent=2, allow_nan=False).encode())
    progress(f"All numbers: {for_metrics}")
    return metrics


def _same_facts(info: Info, other: Info) -> bool:
    """Are these the same data, which may have moved to another folder?"""
    return replace(info, name="", description="") == replace(other, name="", description="")


def _as_file_name(name: str) -> str:
    """The name of a data set as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", name)[-100:]


def _load(
    name: str | None, trained_on: str, data_dir: str | None
) -> tuple[Dataset, data.Mechanism | None]:
    """The data set `name`, by default the one that was trained on, and its mechanism."""
    try:
        found = name or trained_on
        return data.load(found, data_dir), data.mechanism(found)
    except UserError as error:
        if name:
            raise
        raise UserError(
            f"The data that were trained on cannot be had. {error} If they are elsewhere now, name "
            "them (cdis evaluate --data, or in Python dataset=)."
        ) from error


def _as_trained_on(info: Info, dataset: Dataset) -> Dataset:
    """The data set with the scale of the labels that was trained on.

    Raises `UserError` if its factors or images are not those that the method knows.
    """
    other = dataset.info
    differing = [
        f"{field} {getattr(info, field)} there, {getattr(other, field)} here"
        for field in ("factor_names", "factor_sizes", "circular", "image_shape")
        if getattr(info, field) != getattr(other, field)
    ]
    if differing:
        raise UserError(
            f"What was trained on {info.name} cannot be measured on {other.name}, which differs in "
            f"{'; '.join(differing)}."
        )
    scaled = replace(other, value_mean=info.value_mean, value_std=info.value_std)
    return replace(dataset, info=scaled)


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
    """Trains or loads the factor predictor; None if there are no labels to train it on.

    Of a split by combination it is trained on the splits before, so that it knows all combinations,
    and shared with runs on these. It is scored on images that it has not seen: those of the test
    split that were in the test split before or, if there are none, all that were.
    """
    splits, test = dataset.splits, dataset.splits["test"]
    if dataset.unseen is not None:
        splits = dataset.unseen.splits_before
        both = np.intersect1d(splits["test"], test)
        test = both if len(both) else splits["test"]
    if not np.isfinite(dataset.values[splits["train"]]).any(1).any():
        return None
    return predictors.factor_predictor(
        dataset.images,
        dataset.factors,
        dataset.info.factor_sizes,
        values=dataset.values,
        train_index=splits["train"],
        validation_index=splits["validation"],
        test_index=test,
        cache=data.directory(data_dir) / "factor_predictors",
        steps=steps,
        progress=progress,
    )


def _npz(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
