"""Downstream tasks: how much does the representation help a classifier?"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from cdis.chunks import in_chunks
from cdis.data.info import Info
from cdis.measure.base import (
    Column,
    Headline,
    Measured,
    Measurement,
    Metrics,
    Progress,
    Subject,
    Table,
    Tables,
    interval,
)
from cdis.measure.sampling import SEED, sample
from cdis.metrics.arrays import UnsuitableData
from cdis.metrics.downstream import (
    WEIGHTS,
    distributional_robustness,
    sample_efficiency,
    synthetic_label,
)
from cdis.ops.images import tinted
from cdis.trained import BATCH

MAX_DOWNSTREAM = 10_000  # images
FEW_LABELS = 100  # of a classifier's training images


def _applies(subject: Subject) -> bool:
    return (
        subject.method.encode is not None
        and subject.info.value_std is not None
        and subject.info.num_factors >= len(WEIGHTS)
    )


def _measure(subject: Subject) -> Measured:
    """Two tasks on the vectors of test images: sample efficiency and robustness to a tint.

    The tasks use "all" dimensions of the vectors, the "labelled" ones, and "true_factors", an upper
    bound in practice. The label is sampled, as published, so that no accuracy comes near 1;
    "likelier_label" has the same scores for the more probable label. For robustness, a random tint
    of the whole image is correlated with the label in training but not in the test; only a method
    trained on tinted images can be expected to represent the tint. "all_labels" has an agreement of
    0.8 in training, "few_labels" 0.9 and `FEW_LABELS` training images.
    """
    if reason := subject.too_few_labels:
        return Measured({"downstream": {"reason": reason}})
    index = sample(subject.labelled, MAX_DOWNSTREAM)
    values = subject.dataset.values[index]
    tint = np.random.default_rng(SEED).integers(0, 2, len(subject.dataset.images))
    plain, with_tint = subject.encode(index)["vectors"], _encode_tinted(subject, index, tint)
    parts = {"all": (plain, with_tint)}
    if labelled := subject.method.factors.num_labelled:
        parts["labelled"] = plain[:, :labelled], with_tint[:, :labelled]
    parts["true_factors"] = values, values
    try:
        scores, likelier = (
            _classified(
                parts,
                synthetic_label(values, sampled=sampled),
                tint[index],
                title,
                subject.progress,
            )
            for sampled, title in ((True, "sampled label"), (False, "likelier label"))
        )
    except UnsuitableData as error:
        return Measured({"downstream": {"reason": str(error)}})
    scores |= {"likelier_label": likelier, "split": "test", "num_images": len(index)}
    return Measured({"downstream": scores})


def _encode_tinted(
    subject: Subject, index: Int[np.ndarray, " n"], tint: Int[np.ndarray, " images"]
) -> Float[np.ndarray, "n d"]:
    """Vectors of images, those with a 1 in `tint` tinted."""

    def encode(rows: np.ndarray) -> np.ndarray:
        images = jnp.asarray(subject.dataset.images[rows])
        images = np.asarray(tinted(images, jnp.asarray(tint[rows], bool)))
        return subject.trained.encode(images, subject.given(rows))["vectors"]

    return in_chunks(encode, index, size=BATCH)


def _classified(
    parts: dict[str, tuple[np.ndarray, np.ndarray]],
    label: Int[np.ndarray, " n"],
    tint: Int[np.ndarray, " n"],
    title: str,
    progress: Progress,
) -> dict[str, Any]:
    """Both tasks for each part: its vectors of plain and of tinted images."""
    efficiency: dict[str, Any] = {}
    robustness: dict[str, Any] = {}
    for name, (plain, with_tint) in parts.items():
        if name == "labelled" and plain.shape == parts["all"][0].shape:
            efficiency[name], robustness[name] = efficiency["all"], robustness["all"]
            continue
        efficiency[name] = sample_efficiency(plain, label, few=FEW_LABELS)
        # Few labels leave most rows to the test, where the worst of four groups is a noisy number.
        test_share = max(0.3, 1 - 3 * FEW_LABELS / len(label))
        robustness[name] = {
            "all_labels": distributional_robustness(with_tint, label, tint),
            "few_labels": distributional_robustness(
                with_tint, label, tint, agreement_train=0.9, few=FEW_LABELS, test_share=test_share
            ),
        }
        progress(
            f"downstream, {title}, {_title(name)}: sample efficiency "
            f"{efficiency[name]['efficiency']:.3f}; worst group "
            f"{robustness[name]['all_labels']['worst_group']:.3f}, with few labels "
            f"{robustness[name]['few_labels']['worst_group']:.3f}"
        )
    return {"sample_efficiency": efficiency, "robustness": robustness}


def _title(part: str) -> str:
    return part.replace("_", " ")


def _headlines(metrics: Metrics) -> list[Headline]:
    scores = metrics["downstream"]
    if "reason" in scores:
        return []
    worst = {
        part: f"{misled['few_labels']['worst_group']:.3f}"
        for part, misled in scores["likelier_label"]["robustness"].items()
    }
    few = scores["sample_efficiency"]["all"]["few"]
    label = f"worst group, misleading tint, {few} labels"
    note = ", ".join(f"{_title(part)} {value}" for part, value in worst.items() if part != "all")
    return [Headline(label, worst["all"], note)]


def _tables(info: Info, metrics: Metrics) -> Tables:
    scores = metrics["downstream"]
    if "reason" in scores:
        return Tables()
    few = scores["sample_efficiency"]["all"]["few"]
    caption = (
        "Accuracy of a small classifier on the latents. The true factors show what can be hoped "
        "for; a sampled label cannot be predicted with certainty. Misled: a tint of the image "
        f"mostly agrees with the label in training (in 0.8 of the images; with {few} labels, in "
        "0.9), but not in the test. Brackets are intervals over repeats."
    )
    by_label = (("sampled", scores), ("likelier", scores["likelier_label"]))
    cells = {
        f"{_title(part)}, {label} label": _cells(measured, part, few)
        for label, measured in by_label
        for part in measured["sample_efficiency"]
    }
    titles = next(iter(cells.values()))
    columns = tuple(
        Column(title, {row: cells[row][title] for row in cells}, "") for title in titles
    )
    return Tables(whole=(Table("Downstream tasks", caption, "dimensions", tuple(cells), columns),))


def _cells(scores: dict[str, Any], part: str, few: int) -> dict[str, str]:
    """A row of the table, by column: each score with its interval below."""
    efficiency, misled = scores["sample_efficiency"][part], scores["robustness"][part]
    columns = {
        f"accuracy, {few} labels": (efficiency, "accuracy_few"),
        "accuracy, all labels": (efficiency, "accuracy_all"),
        "ratio": (efficiency, "efficiency"),
        "misled, all labels": (misled["all_labels"], "average"),
        "misled, all labels: worst group": (misled["all_labels"], "worst_group"),
        f"misled, {few} labels": (misled["few_labels"], "average"),
        f"misled, {few} labels: worst group": (misled["few_labels"], "worst_group"),
    }
    return {
        title: f"{numbers[name]:.3f}\n{interval(numbers, name)}"
        for title, (numbers, name) in columns.items()
    }


_TASKS = {
    "sample_efficiency.{part}.accuracy_few": "accuracy, few labels",
    "sample_efficiency.{part}.accuracy_all": "accuracy, all labels",
    "sample_efficiency.{part}.efficiency": "sample efficiency",
    "robustness.{part}.all_labels.average": "misled, all labels: average",
    "robustness.{part}.all_labels.worst_group": "misled, all labels: worst group",
    "robustness.{part}.few_labels.average": "misled, few labels: average",
    "robustness.{part}.few_labels.worst_group": "misled, few labels: worst group",
}
_PARTS = {
    "all": "all dimensions",
    "labelled": "labelled dimensions",
    "true_factors": "true factors",
}
_LABELS = {"likelier_label.": "likelier label", "": "sampled label"}
MEASUREMENT = Measurement(
    "downstream",
    _applies,
    _measure,
    headlines=_headlines,
    tables=_tables,
    scores={
        f"downstream.{label}{name.format(part=part)}": f"{title} ({_LABELS[label]}, {_PARTS[part]})"
        for label in _LABELS
        for part in _PARTS
        for name, title in _TASKS.items()
    },
)
