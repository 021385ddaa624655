"""Interventions by value: do(factor = value) against the data set's true counterfactuals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from cdis.chunks import in_chunks
from cdis.data import Mechanism
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
from cdis.measure.sampling import MAX_INTERVENED, SEED, SHOWN_INTERVENTIONS, sample
from cdis.metrics.causal_interventions import intervention_scores
from cdis.ops.images import to_uint8
from cdis.trained import BATCH

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VALUES_EACH = 2  # of each factor, for each of `MAX_INTERVENED` images
_SHOWN_VALUES = 7  # of each factor, for each image shown
_SECTION = "do_"  # and the factor: its part of the section "interventions"


def _applies(subject: Subject) -> bool:
    return subject.method.factors.do is not None and subject.mechanism is not None


def _measure(subject: Subject) -> Measured:
    """Set every factor to values that it has in other test images.

    The values thus have the factor's own distribution. Counterfactuals that leave the frame are not
    scored.
    """
    dataset, info = subject.dataset, subject.info
    rng = np.random.default_rng(SEED)
    index = np.repeat(sample(subject.test, MAX_INTERVENED), VALUES_EACH)
    shown = np.sort(rng.permutation(subject.test)[:SHOWN_INTERVENTIONS])
    levels = np.linspace(0.05, 0.95, _SHOWN_VALUES)
    settings = np.stack(
        [np.quantile(dataset.values[subject.test, f], levels) for f in range(info.num_factors)]
    )
    scores: dict[str, Any] = {}
    results = []
    for factor, name in enumerate(info.factor_names):
        values = dataset.values[rng.choice(subject.test, len(index)), factor]
        scores[f"{_SECTION}{name}"] = _scores(subject, factor, index, values)
        subject.progress(f"do({name}): " + _in_words(scores[f"{_SECTION}{name}"]))
        values = np.tile(settings[factor], len(shown)).astype(np.float32)
        results.append(to_uint8(_do(subject, factor, np.repeat(shown, len(levels)), values)))
    grid = (info.num_factors, len(shown), len(levels))
    arrays = {
        "do_images": dataset.images[shown],
        "do_results": np.stack(results).reshape(*grid, *info.image_shape),
        "do_values": settings,
    }
    return Measured({"interventions": scores}, arrays)


def _scores(
    subject: Subject, factor: int, index: Int[np.ndarray, " n"], values: Float[np.ndarray, " n"]
) -> dict[str, Any]:
    """Scores of setting one factor of each image to a value."""
    mechanism, info = subject.mechanism, subject.info
    assert mechanism is not None
    truth = np.asarray(mechanism.counterfactual(subject.dataset.values[index], factor, values))
    inside = np.asarray(mechanism.inside(truth))
    images = _do(subject, factor, index[inside], values[inside])
    scores = intervention_scores(
        _read(mechanism, images),
        truth[inside],
        factor,
        np.array(info.graph),
        np.array(info.value_std),
    )
    for kind in ("propagation_per_factor", "drift_per_factor"):
        by_factor = zip(info.factor_names, scores[kind], strict=True)
        scores[kind] = {name: value for name, value in by_factor if value is not None}
    scores["undefined"] = {info.factor_names[k]: why for k, why in scores["undefined"].items()}
    return scores | {"split": "test"}


def _do(
    subject: Subject, factor: int, index: Int[np.ndarray, " n"], values: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n h w c"]:
    images = subject.dataset.images
    return in_chunks(
        lambda rows: subject.trained.do(images[index[rows]], factor, values[rows]),
        len(index),
        size=BATCH,
    )


def _read(mechanism: Mechanism, images: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n f"]:
    """Factor values that the data set's referee reads from images."""
    return in_chunks(lambda rows: mechanism.referee(images[rows]), len(images), size=BATCH)


def _in_words(scores: dict[str, Any]) -> str:
    parts = [] if scores["hit"] is None else [f"hit {scores['hit']:.3f}"]
    for kind in ("propagation", "drift"):
        values = [f"{name} {x:.3f}" for name, x in scores[f"{kind}_per_factor"].items()]
        parts += [f"{kind} {', '.join(values)}"] if values else []
    return "; ".join(parts)


def _headlines(metrics: Metrics) -> list[Headline]:
    lines = []
    for name, scores in metrics["interventions"].items():
        if name.startswith(_SECTION):
            hit = "–" if scores["hit"] is None else f"{scores['hit']:.3f}"
            worst = [
                f"{kind} {scores[kind]:.3f}"
                for kind in ("propagation", "drift")
                if scores[kind] is not None
            ]
            factor = name.removeprefix(_SECTION)
            lines.append(Headline(f"do({factor}): R² of {factor}", hit, ", ".join(worst)))
    return lines


def _figures(info: Info, metrics: Metrics, arrays: Arrays) -> list[Picture]:
    if "do_images" not in arrays:
        return []
    caption = (
        "Each row starts from one held-out image (orange frame). The columns set the factor to "
        "increasing values; its effects follow."
    )
    return [
        Picture(f"do_{name}", f"do({name})", caption, _plot(name, factor, arrays))
        for factor, name in enumerate(info.factor_names)
    ]


def _tables(info: Info, metrics: Metrics) -> Tables:
    columns = []
    for cause in info.factor_names:
        scores = metrics["interventions"].get(f"{_SECTION}{cause}")
        if scores is not None:
            changed = {cause: scores["hit"]} | scores["propagation_per_factor"]
            columns += [
                Column(f"R² under do({cause})", changed),
                Column(f"drift under do({cause})", scores["drift_per_factor"]),
            ]
    return Tables(by_factor=tuple(columns))


def _plot(name: str, factor: int, arrays: Arrays) -> Figure:
    """Rows are images; columns are the image itself and the factor set to increasing values."""
    images, results = arrays["do_images"], arrays["do_results"][factor]
    titles = ["image", *(f"{value:.3g}" for value in arrays["do_values"][factor])]
    figure = figures.image_grid(len(images), len(titles))
    for row, image in enumerate(images):
        for column, shown in enumerate((image, *results[row])):
            axes = figure.add_subplot(len(images), len(titles), row * len(titles) + column + 1)
            figures.show(axes, shown, edge=figures.LINE if column else figures.ORANGE)
            if row == 0:
                axes.set_title(titles[column], fontsize=11)
    figure.suptitle(f"do({name} = ...)", y=1.06, fontsize=12)
    return figure


MEASUREMENT = Measurement(
    "do_interventions",
    _applies,
    _measure,
    section="interventions",
    headlines=_headlines,
    figures=_figures,
    tables=_tables,
)
