"""Labelled latents: does each latent that stands for a factor agree with it?"""

from __future__ import annotations

from typing import Any

import numpy as np

from cdis.data.info import Info
from cdis.measure.base import Column, Headline, Measured, Measurement, Metrics, Subject, Tables
from cdis.measure.sampling import MAX_IMAGES, sample
from cdis.metrics.arrays import UnsuitableData
from cdis.metrics.labelled_latents import labelled_latents
from cdis.metrics.mic import mic_of_pairs


def _applies(subject: Subject) -> bool:
    return subject.method.encode is not None and subject.method.factors.num_labelled > 0


def _measure(subject: Subject) -> Measured:
    if reason := subject.too_few_labels:
        return Measured({"factors": {"reason": reason}})
    index = sample(subject.labelled, MAX_IMAGES)
    latents = subject.encode(index)["vectors"][:, : subject.method.factors.num_labelled]
    values = subject.dataset.values[index]
    scores = labelled_latents(latents, values)
    scores["r2"] = dict(zip(subject.info.factor_names, scores["r2"], strict=True))
    scores |= _information(subject.info, latents, values)
    scores |= {"split": "test", "num_images": len(index)}
    for line in _headlines({"factors": scores}):
        subject.progress(f"{line.label}: {line.value} ({line.note})")
    if "mic_reason" in scores:
        subject.progress(f"MIC and TIC of labelled latents: not measured. {scores['mic_reason']}")
    return Measured({"factors": scores})


def _information(info: Info, latents: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """MIC and TIC of each latent with its factor, on a seeded sample of up to 1,000 images.

    "perfect" is what the labels themselves have in place of the latents: the scores saturate there,
    so a latent that has as much need not be exact.
    """
    try:
        found, perfect = mic_of_pairs(latents, values), mic_of_pairs(values, values)
    except UnsuitableData as error:
        return {"mic": None, "tic": None, "mic_reason": str(error)}
    for name in ("mic_per_factor", "tic_per_factor"):
        found[name] = dict(zip(info.factor_names, found[name], strict=True))
    found["mic_num_images"] = found.pop("num_samples")
    return found | {"perfect": {name: perfect[name] for name in ("mic", "tic")}}


def _headlines(metrics: Metrics) -> list[Headline]:
    scores = metrics["factors"]
    value, note = f"{scores['r2_worst']:.4f}", f"MCC {scores['mcc']:.4f}"
    lines = [Headline("R² of the worst labelled latent", value, note)]
    for name in ("mic", "tic"):
        if scores.get(name) is not None:
            note = (
                f"the labels themselves {scores['perfect'][name]:.3f}; "
                f"{scores['mic_num_images']:,} images"
            )
            lines.append(
                Headline(f"{name.upper()} of labelled latents", f"{scores[name]:.3f}", note)
            )
    return lines


def _tables(info: Info, metrics: Metrics) -> Tables:
    scores = metrics["factors"]
    columns = [Column("R² of its latent", scores["r2"], ".4f")]
    for name in ("mic", "tic"):
        if f"{name}_per_factor" in scores:
            columns.append(Column(f"{name.upper()} of its latent", scores[f"{name}_per_factor"]))
    return Tables(by_factor=tuple(columns))


MEASUREMENT = Measurement(
    "labelled_factors",
    _applies,
    _measure,
    section="factors",
    headlines=_headlines,
    tables=_tables,
    scores={
        "factors.r2_worst": "R² of the worst labelled latent",
        "factors.mic": "MIC of labelled latents",
        "factors.tic": "TIC of labelled latents",
    },
)
