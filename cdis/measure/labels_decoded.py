"""The decoder on true labels: does it draw what labels say, or does it need the encoder's latents?

Latents that stand for factors may agree with their labels (R^2 .999) and still carry more: in
offsets far below the scale of the labels, an encoder can tell the decoder what an image looks like.
Such a decoder reconstructs well, but draws badly from latents that are computed, as those of an
intervention are. So here labelled latents are replaced by the standardised true labels, and the
error of the images is compared with that of reconstructions.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from cdis.data.info import Info
from cdis.measure import drawing, figures
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
from cdis.measure.reconstruction import can_reconstruct, squared_error
from cdis.measure.sampling import SEED, sample
from cdis.metrics.factor_predictor import factor_scores
from cdis.ops.images import to_uint8

MAX_DECODED = 4_000  # images
_SHOWN = 12


def _applies(subject: Subject) -> bool:
    return can_reconstruct(subject) and subject.method.factors.num_labelled > 0


def _why_not(subject: Subject) -> str | None:
    """Why no latent can be replaced by a label; None if one can."""
    info = subject.info
    if info.value_std is None:
        return (
            "Labels cannot be standardised as latents are: the data set has no mean and standard "
            "deviation of its factors' values."
        )
    if all(info.binary[: subject.method.factors.num_labelled]):
        return (
            "All labelled factors are binary. Their latents are logits, which no label gives, so "
            "there is no latent that a label could replace."
        )
    return subject.too_few_labels


def _measure(subject: Subject) -> Measured:
    """Errors of images decoded from labels, and how well factors are read off them.

    Latents that no label gives are the encoder's: extra ones, and those of binary factors
    ("latents_kept"), which are logits. "read" is R^2, or the accuracy of discrete factors.
    "redrawn" is the error of the mechanism's own drawing of the labels, where there is one: above
    0, labels do not say all that an image shows.
    """
    if reason := _why_not(subject):
        return Measured({"labels_decoded": {"reason": reason}})
    dataset, info = subject.dataset, subject.info
    index = sample(subject.labelled, MAX_DECODED)
    images, seen = dataset.images[index], subject.encode(index)
    replaced = seen | {"vectors": _with_labels(subject, seen["vectors"], dataset.values[index])}
    decoded = {
        "": subject.trained.decode(replaced),
        "reconstruction_": subject.trained.decode(seen),
    }
    scores: dict[str, Any] = {
        f"{kind}mse": float(squared_error(shown, images).mean()) for kind, shown in decoded.items()
    }
    scores["ratio"] = drawing.ratio(scores["mse"], scores["reconstruction_mse"])
    scores["redrawn"] = drawing.redrawn(subject, index)
    if subject.predictor is not None:
        for kind, shown in decoded.items():
            read = subject.predictor.predict(shown)
            found = factor_scores(read, known_labels(dataset, index), info.factor_sizes)
            known = {
                name: float(score)
                for name, score in zip(info.factor_names, found, strict=True)
                if np.isfinite(score)
            }
            scores[f"{kind}read"] = dict.fromkeys(info.factor_names) | known
            scores[f"{kind}read_worst"] = min(known.values(), default=None)
    scores |= {
        "latents_kept": np.array(info.factor_names)[list(info.binary)].tolist(),
        "split": "test",
        "num_images": len(index),
    }
    for line in _headlines({"labels_decoded": scores}):
        subject.progress(f"{line.label} {line.value}, {line.note}")
    shown = np.sort(np.random.default_rng(SEED).permutation(len(index))[:_SHOWN])
    arrays = {f"labels_decoded_{kind}images": to_uint8(of[shown]) for kind, of in decoded.items()}
    return Measured({"labels_decoded": scores}, arrays | {"labels_decoded_true": images[shown]})


def _with_labels(
    subject: Subject, latents: Float[np.ndarray, "n l"], values: Float[np.ndarray, "n f"]
) -> Float[np.ndarray, "n l"]:
    """The latents with standardised labels in place of those that labels give."""
    info = subject.info
    labels = (values - np.array(info.value_mean)) / np.array(info.value_std)
    replaced = ~np.array(info.binary)
    replaced[subject.method.factors.num_labelled :] = False
    result = latents.copy()
    result[:, np.flatnonzero(replaced)] = labels[:, replaced]
    return result


def _headlines(metrics: Metrics) -> list[Headline]:
    scores = metrics["labels_decoded"]
    notes = [] if scores["ratio"] is None else [f"{scores['ratio']:.2f} times the reconstruction's"]
    if scores.get("read_worst") is not None:
        notes.append(f"worst factor read {scores['read_worst']:.3f}")
    label = "decoder on true labels: error"
    return [Headline(label, f"{scores['mse']:.5f}", ", ".join(notes))]


def _figures(info: Info, metrics: Metrics, arrays: Arrays) -> list[Picture]:
    caption = (
        "Held-out images, their reconstructions, and images decoded from their true labels in "
        "place of the encoder's latents."
    )
    if kept := metrics["labels_decoded"]["latents_kept"]:
        caption += f" Latents of binary factors stay the encoder's ({', '.join(kept)})."
    figure = figures.image_rows(
        {
            "image": arrays["labels_decoded_true"],
            "decoded": arrays["labels_decoded_reconstruction_images"],
            "from labels": arrays["labels_decoded_images"],
        }
    )
    return [Picture("labels_decoded", "Decoded from true labels", caption, figure)]


def _tables(info: Info, metrics: Metrics) -> Tables:
    scores = metrics["labels_decoded"]
    if "read" not in scores:
        return Tables()
    return Tables(by_factor=(Column("read from decoded true labels", scores["read"]),))


MEASUREMENT = Measurement(
    "labels_decoded",
    _applies,
    _measure,
    headlines=_headlines,
    figures=_figures,
    tables=_tables,
    scores={
        "labels_decoded.mse": "decoder on true labels: MSE",
        "labels_decoded.ratio": "decoder on true labels: MSE / reconstruction MSE",
        "labels_decoded.read_worst": "decoder on true labels: worst factor read",
    },
)
