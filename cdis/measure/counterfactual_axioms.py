"""Axioms that counterfactual images obey whatever the truth is; no labels are compared with.

From Monteiro, Ribeiro, Pawlowski, Castro and Glocker, "Measuring axiomatic soundness of
counterfactual image models", ICLR 2023 (arXiv 2303.01274):

- composition: an intervention that changes nothing leaves the image alone, once and repeatedly;
- reversibility: setting a factor and setting it back leads back;
- effectiveness: the factor has the value that it was set to. This one needs something that reads
  factors; it is the "hit" of `cdis.measure.do_interventions`. A method that ignores interventions
  obeys the other two.

Differences are mean absolute pixel differences, for pixels in [0, 1], to an image's reconstruction,
so that the quality of reconstructions plays no part. "random_pairs" is the scale to hold them
against: the same difference between random pairs of test images.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from cdis.chunks import in_chunks
from cdis.data.info import Info
from cdis.measure.base import Column, Headline, Measured, Measurement, Metrics, Subject, Tables
from cdis.measure.reconstruction import can_reconstruct, reconstruct
from cdis.measure.sampling import MAX_INTERVENED, SEED, sample
from cdis.metrics.interventions import target_factors
from cdis.ops.images import from_uint8, to_uint8
from cdis.trained import BATCH

_REPEATS = 3  # of an intervention that changes nothing


def _applies(subject: Subject) -> bool:
    return can_reconstruct(subject) and (_sets_factors(subject) or _acts(subject))


def _sets_factors(subject: Subject) -> bool:
    factors, info = subject.method.factors, subject.info
    all_labelled = factors.num_labelled == info.num_factors
    return factors.do is not None and all_labelled and info.value_std is not None


def _acts(subject: Subject) -> bool:
    return subject.method.actions.intervene is not None and subject.has_steps


def _measure(subject: Subject) -> Measured:
    """Composition and reversibility of do() by factor, and of actions there and back.

    The intervention that changes nothing sets a factor to the value that the encoder sees.
    """
    if subject.method.labels_at_evaluation:
        reason = (
            "The method is given the labels of images, and counterfactual images, on which the "
            "axioms intervene again, have none."
        )
        return Measured({"axioms": {"reason": reason}})
    index = sample(subject.test, MAX_INTERVENED)
    images = subject.dataset.images[index]
    first = to_uint8(reconstruct(subject, index))
    other = np.random.default_rng(SEED).permutation(len(index))
    scores: dict[str, Any] = {
        "random_pairs": _difference(images[other], images),
        "reconstruction": _difference(first, images),
        "split": "test",
        "num_images": len(index),
    }
    if _sets_factors(subject):
        own = _own_values(subject, index)
        by_factor = {
            name: _of_factor(subject, factor, images, first, own[:, factor], other)
            for factor, name in enumerate(subject.info.factor_names)
        }
        for kind in ("composition", f"composition_{_REPEATS}", "reversibility"):
            scores[kind] = {name: found[kind] for name, found in by_factor.items()}
            scores[f"{kind}_worst"] = max(scores[kind].values())
    if _acts(subject):
        scores["there_and_back"] = _there_and_back(subject, index, first)
        found = [value for value in scores["there_and_back"].values() if value is not None]
        if found:
            scores["there_and_back_worst"] = max(found)
    parts = [f"{title} {scores[key]:.4f}" for key, title in _WORST.items() if key in scores]
    subject.progress(
        f"axioms, worst case: {', '.join(parts)} (random pairs {scores['random_pairs']:.4f})"
    )
    return Measured({"axioms": scores})


def _difference(
    images: UInt8[np.ndarray, "n h w c"], others: UInt8[np.ndarray, "n h w c"]
) -> float:
    """The mean absolute difference of pixels in [0, 1]."""
    return float(np.abs(from_uint8(images) - from_uint8(others)).mean() / 2)


def _own_values(subject: Subject, index: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n f"]:
    """The factors as the encoder sees them, in physical units.

    The latents of factors are standardised. That of a binary factor is a logit; its value is the
    label, or what is more probable if there is none.
    """
    info = subject.info
    latents = subject.encode(index)["vectors"][:, : info.num_factors]
    seen = latents * np.array(info.value_std) + np.array(info.value_mean)
    labels = subject.dataset.values[index]
    known = np.where(np.isfinite(labels), labels, latents > 0)
    return np.where(info.binary, known, seen).astype(np.float32)


def _of_factor(
    subject: Subject,
    factor: int,
    images: UInt8[np.ndarray, "n h w c"],
    first: UInt8[np.ndarray, "n h w c"],
    own: Float[np.ndarray, " n"],
    other: Int[np.ndarray, " n"],
) -> dict[str, float]:
    """The axioms for one factor; it is set to the own values of other images, and back."""

    def do(images: np.ndarray, value: np.ndarray) -> np.ndarray:
        return to_uint8(subject.trained.do(images, {factor: value}))

    same = once = do(images, own)
    for _ in range(_REPEATS - 1):
        same = do(same, own)
    return {
        "composition": _difference(once, first),
        f"composition_{_REPEATS}": _difference(same, first),
        "reversibility": _difference(do(do(images, own[other]), own), first),
    }


def _there_and_back(
    subject: Subject, index: Int[np.ndarray, " n"], first: UInt8[np.ndarray, "n h w c"]
) -> dict[str, float | None]:
    """By action: the image after it and the opposite one, where labels say that it is possible."""
    dataset, info = subject.dataset, subject.info

    def back(rows: np.ndarray, action: np.ndarray) -> np.ndarray:
        there = to_uint8(subject.trained.intervene(dataset.images[index[rows]], action[rows]))
        returned = subject.trained.intervene(there, info.opposite(action[rows]))
        return to_uint8(returned)

    labelled = np.isin(index, subject.labelled)
    result: dict[str, float | None] = {}
    for number, name in enumerate(info.action_names):
        action = np.full(len(index), number, np.int32)
        _, possible = target_factors(
            dataset.factors[index], action, info.factor_sizes, info.circular
        )
        rows = np.flatnonzero(possible & labelled)
        if len(rows):
            after = in_chunks(lambda chunk, a=action: back(chunk, a), rows, size=BATCH)
            result[name] = _difference(after, first[rows])
        else:
            result[name] = None
    return result


#: The score of the worst factor or action -> title.
_WORST = {
    "composition_worst": "nothing changed",
    f"composition_{_REPEATS}_worst": f"nothing changed, {_REPEATS} times",
    "reversibility_worst": "set and set back",
    "there_and_back_worst": "action and its opposite",
}


def _headlines(metrics: Metrics) -> list[Headline]:
    scores = metrics["axioms"]
    note = f"of the worst case; random pairs of images {scores['random_pairs']:.3f}"
    return [
        Headline(f"pixel difference, {title}", f"{scores[key]:.4f}", note)
        for key, title in _WORST.items()
        if key in scores
    ]


def _tables(info: Info, metrics: Metrics) -> Tables:
    scores = metrics["axioms"]
    titles = {name.removesuffix("_worst"): f"pixel difference, {_WORST[name]}" for name in _WORST}
    by_factor, by_action = (
        tuple(Column(titles[key], scores[key], ".4f") for key in keys if key in scores)
        for keys in (list(titles)[:3], list(titles)[3:])
    )
    return Tables(by_action=by_action, by_factor=by_factor)


MEASUREMENT = Measurement(
    "counterfactual_axioms",
    _applies,
    _measure,
    section="axioms",
    headlines=_headlines,
    tables=_tables,
    scores={f"axioms.{key}": f"pixel difference, {title}" for key, title in _WORST.items()},
)
