"""Reconstruction: test images encoded and decoded again."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from cdis.chunks import in_chunks
from cdis.data.info import Info
from cdis.measure import figures
from cdis.measure.base import (
    Arrays,
    Column,
    Headline,
    Measured,
    Measurement,
    Metrics,
    Picture,
    Subject,
    Tables,
)
from cdis.measure.reading import known_labels
from cdis.measure.sampling import MAX_IMAGES, SEED, sample
from cdis.metrics.factor_predictor import FactorPredictor, factor_scores
from cdis.ops.images import to_uint8
from cdis.trained import BATCH

_SHOWN = 12
#: Of discrete and of continuous factors.
_READ = {
    "factor_accuracy": "factors read correctly",
    "factor_r2": "R² of the worst factor read",
}


def can_reconstruct(subject: Subject) -> bool:
    """Does the method have an encoder and a decoder?"""
    return subject.method.encode is not None and subject.method.decode is not None


def reconstruct(subject: Subject, index: np.ndarray) -> Float[np.ndarray, "n h w c"]:
    """Reconstructions of images, given by index."""
    images = subject.dataset.images
    return in_chunks(lambda rows: subject.trained.reconstruct(images[rows]), index, size=BATCH)


def squared_error(
    decoded: Float[np.ndarray, "n h w c"], images: UInt8[np.ndarray, "n h w c"]
) -> Float[np.ndarray, " n"]:
    """Mean squared error of each image, for pixels in [0, 1]; `decoded` is in [-1, 1]."""
    difference = (np.clip(decoded, -1, 1) + 1) / 2 - images.astype(np.float32) / 255
    return (difference**2).mean((1, 2, 3))


def _measure(subject: Subject) -> Measured:
    index = sample(subject.test, MAX_IMAGES)
    images = subject.dataset.images[index]
    decoded = reconstruct(subject, index)
    scores: dict[str, Any] = {
        "mse": float(squared_error(decoded, images).mean()),
        "split": "test",
        "num_images": len(index),
    }
    line = f"reconstruction: {len(index)} test images, mean squared error {scores['mse']:.5f}"
    if subject.predictor is not None:
        scores |= _factor_scores(subject, subject.predictor, decoded, index)
    for key, title in _READ.items():
        if key in scores:
            real = f"(from real images {scores[f'{key}_real_images']:.3f})"
            line += f", {title} {scores[key]:.3f} {real}"
    subject.progress(line)
    shown = np.sort(np.random.default_rng(SEED).permutation(len(index))[:_SHOWN])
    return Measured(
        {"reconstruction": scores},
        {
            "reconstruction_images": images[shown],
            "reconstruction_decoded": to_uint8(decoded[shown]),
        },
    )


def _factor_scores(
    subject: Subject, predictor: FactorPredictor, decoded: np.ndarray, index: np.ndarray
) -> dict[str, Any]:
    """How well the predictor reads factors from reconstructions, and from real images.

    Of discrete factors, how often it reads the right value, on average and each; of continuous
    ones, R^2, the worst and each. A factor without labels has None.
    """
    info = subject.info
    wanted = known_labels(subject.dataset, index)
    scored = {
        "": factor_scores(predictor.predict(decoded), wanted, info.factor_sizes),
        "_real_images": predictor.real_score,
    }
    discrete = np.array(info.factor_sizes) > 0
    result: dict[str, Any] = {}
    for title, chosen, summary in (
        ("factor_accuracy", discrete, np.mean),
        ("factor_r2", ~discrete, np.min),
    ):
        for images, scores in scored.items():
            known = scores[chosen & np.isfinite(scores)]
            if len(known):
                result[f"{title}{images}"] = float(summary(known))
                result[f"{title}{images}_per_factor"] = {
                    info.factor_names[f]: float(scores[f]) if np.isfinite(scores[f]) else None
                    for f in np.flatnonzero(chosen)
                }
    return result


def _headlines(metrics: Metrics) -> list[Headline]:
    scores = metrics["reconstruction"]
    lines = [
        Headline("reconstruction error", f"{scores['mse']:.5f}", "mean square, pixels in [0, 1]")
    ]
    for key, title in _READ.items():
        if key in scores:
            note = f"from real images {scores[f'{key}_real_images']:.3f}"
            lines.append(Headline(f"{title} from reconstructions", f"{scores[key]:.3f}", note))
    return lines


def _figures(info: Info, metrics: Metrics, arrays: Arrays) -> list[Picture]:
    caption = "Held-out images and their reconstructions."
    figure = figures.image_rows(
        {"image": arrays["reconstruction_images"], "decoded": arrays["reconstruction_decoded"]}
    )
    return [Picture("reconstructions", "Reconstructions", caption, figure)]


def _tables(info: Info, metrics: Metrics) -> Tables:
    scores = metrics["reconstruction"]
    return Tables(
        by_factor=tuple(
            Column(f"{prefix}read from {images}", scores[f"{key}{kind}_per_factor"])
            for key, prefix in (("factor_accuracy", ""), ("factor_r2", "R² "))
            if key in scores
            for images, kind in (("real images", "_real_images"), ("reconstructions", ""))
        )
    )


MEASUREMENT = Measurement(
    "reconstruction",
    can_reconstruct,
    _measure,
    headlines=_headlines,
    figures=_figures,
    tables=_tables,
    scores={"reconstruction.mse": "reconstruction MSE"},
)
