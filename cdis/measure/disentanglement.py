"""Disentanglement: scores of representations against the factors, as `cdis score` computes them."""

import time
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from cdis.measure.base import Headline, Measured, Measurement, Metrics, Progress, Subject
from cdis.measure.sampling import sample
from cdis.metrics import score, table
from cdis.metrics.arrays import UnsuitableData
from cdis.metrics.scoring import metrics_for

MAX_SCORED = 15_000  # images
MAX_SCORED_DIMENSIONS = 256  # trees on more take minutes
#: Scores that take seconds on 4,608 images; `cdis score` has the others.
VECTOR_SCORES = metrics_for("vectors")
#: Code indices are unordered, so they get only scores that treat them as symbols.
CODE_SCORES = metrics_for("codes")
#: For vectors, where factors are continuous and may cause one another.
CONTINUOUS_SCORES = metrics_for("vectors_of_continuous")


def _applies(subject: Subject) -> bool:
    return subject.method.encode is not None


def _measure(subject: Subject) -> Measured:
    """Scores of "vectors" and, for a method with codes, of "codes".

    Discrete factors are scored on all splits, because several scores fix one factor while all
    others vary, which needs the complete grid of factors. If any factor is continuous, all are
    scored on the test split. Images that lack a label are left out. A representation that cannot
    be scored, such as collapsed codes, has a "reason" instead.
    """
    if reason := subject.too_few_labels:
        return Measured({"disentanglement": {"reason": reason}})
    start = time.perf_counter()
    dataset = subject.dataset
    continuous = [size == 0 for size in subject.info.factor_sizes]
    if any(continuous):
        split, index, for_vectors = "test", subject.labelled, CONTINUOUS_SCORES
    else:
        everything = dataset.fully_labelled(np.arange(len(dataset.images)))
        split, index, for_vectors = "all", everything, VECTOR_SCORES
    index = sample(index, MAX_SCORED)
    factors = (dataset.values if any(continuous) else dataset.factors)[index]
    representation = subject.encode(index)
    result: dict[str, Any] = {"split": split, "num_images": len(index)}
    for name, chosen in (("vectors", for_vectors), ("codes", CODE_SCORES)):
        if name in representation:
            array = representation[name].reshape(len(index), -1)
            result[name] = _scores(name, array, factors, chosen, continuous, subject.progress)
    seconds = time.perf_counter() - start
    return Measured({"disentanglement": result, "timing": {"disentanglement_seconds": seconds}})


def _scores(
    name: str,
    array: Float[np.ndarray, "n d"] | Int[np.ndarray, "n d"],
    factors: np.ndarray,
    chosen: tuple[str, ...],
    continuous: list[bool],
    progress: Progress,
) -> dict[str, Any]:
    """The result of `cdis.metrics.score` without its timings, or the reason why there is none."""
    if array.shape[1] > MAX_SCORED_DIMENSIONS:
        reason = (
            f"{array.shape[1]} dimensions; evaluation scores up to {MAX_SCORED_DIMENSIONS}. "
            "Save the representations and use cdis score."
        )
        return {"reason": reason}
    try:
        scores = score(array, factors, metrics=chosen, continuous=continuous)
    except UnsuitableData as error:
        progress(f"disentanglement of {name}: {error}")
        return {"reason": str(error)}
    progress(f"disentanglement of {name}:\n{table(scores)}")
    for entry in scores["metrics"].values():
        entry.pop("seconds", None)
    return scores


def _headlines(metrics: Metrics) -> list[Headline]:
    """A few scores, each beside that of perfect codes."""
    lines = []
    for name in ("vectors", "codes"):
        entries = metrics["disentanglement"].get(name, {}).get("metrics", {})
        for metric, number, label in (
            ("dci", "disentanglement", "DCI disentanglement"),
            ("mig", "score", "MIG"),
        ):
            entry = entries.get(metric, {})
            if "scores" in entry and entry.get("perfect") is not None:
                value = f"{entry['scores'][number]:.3f}"
                note = f"perfect codes {entry['perfect'][number]:.3f}"
                lines.append(Headline(f"{label} of {name}", value, note))
    return lines


_IN_METRICS = "disentanglement.vectors.metrics"
MEASUREMENT = Measurement(
    "disentanglement",
    _applies,
    _measure,
    headlines=_headlines,
    scores={
        f"{_IN_METRICS}.r2.scores.linear": "R² of a linear read-out",
        f"{_IN_METRICS}.dci.scores.disentanglement": "DCI disentanglement",
    },
)
