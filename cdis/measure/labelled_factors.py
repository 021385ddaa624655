"""Labelled latents: does each latent that stands for a factor agree with it?"""

from __future__ import annotations

from cdis.data.info import Info
from cdis.measure.base import Column, Headline, Measured, Measurement, Metrics, Subject, Tables
from cdis.measure.sampling import MAX_IMAGES, sample
from cdis.metrics.labelled_latents import labelled_latents


def _applies(subject: Subject) -> bool:
    return subject.method.encode is not None and subject.method.factors.num_labelled > 0


def _measure(subject: Subject) -> Measured:
    if reason := subject.too_few_labels:
        return Measured({"factors": {"reason": reason}})
    index = sample(subject.labelled, MAX_IMAGES)
    latents = subject.encode(index)["vectors"][:, : subject.method.factors.num_labelled]
    scores = labelled_latents(latents, subject.dataset.values[index])
    scores["r2"] = dict(zip(subject.info.factor_names, scores["r2"], strict=True))
    scores |= {"split": "test", "num_images": len(index)}
    subject.progress(
        f"labelled latents: R² of the worst {scores['r2_worst']:.4f}, MCC {scores['mcc']:.4f}"
    )
    return Measured({"factors": scores})


def _headlines(metrics: Metrics) -> list[Headline]:
    scores = metrics["factors"]
    value, note = f"{scores['r2_worst']:.4f}", f"MCC {scores['mcc']:.4f}"
    return [Headline("R² of the worst labelled latent", value, note)]


def _tables(info: Info, metrics: Metrics) -> Tables:
    return Tables(by_factor=(Column("R² of its latent", metrics["factors"]["r2"], ".4f"),))


MEASUREMENT = Measurement(
    "labelled_factors",
    _applies,
    _measure,
    section="factors",
    headlines=_headlines,
    tables=_tables,
    scores={"factors.r2_worst": "R² of the worst labelled latent"},
)
