"""Interventions by value: do(factor = value) against counterfactual values of all factors.

These are the true ones if the data set's mechanism is known ("truth": "mechanism"). Otherwise they
are estimated ("regression"): each effect is regressed on its causes, along the data set's graph and
on the labels of training images, and factors are read from images by a predictor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from cdis.chunks import in_chunks
from cdis.data.info import Info
from cdis.measure import counterfactual_pixels, figures
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
from cdis.measure.counterfactual_pixels import Pixels
from cdis.measure.reading import ReadValues, by_referee, categorical, values_by
from cdis.measure.sampling import MAX_INTERVENED, SEED, SHOWN_INTERVENTIONS, sample
from cdis.metrics import graph_regression
from cdis.metrics.arrays import UnsuitableData
from cdis.metrics.causal_interventions import intervention_scores
from cdis.metrics.factor_predictor import factor_scores
from cdis.ops.images import to_uint8
from cdis.trained import BATCH

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

VALUES_EACH = 2  # of each factor, for each of `MAX_INTERVENED` images
_SHOWN_VALUES = 7  # of each factor, for each image shown
_SECTION = "do_"  # and the factor: its part of the section "interventions"


class _Truth(NamedTuple):
    """What images under do() should show, and what reads them."""

    kind: str  #: "mechanism" | "regression"
    #: (values [n, F], factor, value [n]) -> values [n, F]
    counterfactual: Callable[[np.ndarray, int, np.ndarray], np.ndarray]
    inside: Callable[[np.ndarray], np.ndarray]  #: values -> bool [n]: is all of it in the picture?
    read: ReadValues
    categorical: Bool[np.ndarray, " f"]  #: factors that have accuracies in place of R^2
    explained: dict[str, float | None]  #: by effect: how much of it its causes explain


def _applies(subject: Subject) -> bool:
    return subject.method.factors.do is not None and (
        subject.mechanism is not None
        or (subject.info.graph is not None and subject.predictor is not None)
    )


def _measure(subject: Subject) -> Measured:
    """Set every factor to values that it has in other test images.

    The values thus have the factor's own distribution. Counterfactuals that leave the frame are not
    scored. "reader" says how well factors are read from real images: by R^2, or the accuracy of
    categories; "unchanged" is what images score to which nothing was done. "redrawn" is how far
    real images are from the mechanism's drawings of their labels.
    """
    if reason := subject.too_few_labels:
        return Measured({"interventions": {"reason": reason}})
    try:
        truth = _truth(subject)
    except UnsuitableData as error:
        return Measured({"interventions": {"reason": str(error)}})
    dataset, info, test = subject.dataset, subject.info, subject.labelled
    rng = np.random.default_rng(SEED)
    index = np.repeat(sample(test, MAX_INTERVENED), VALUES_EACH)
    shown = np.sort(rng.permutation(test)[:SHOWN_INTERVENTIONS])
    settings = np.stack([_settings(subject, factor) for factor in range(info.num_factors)])
    before = truth.read(dataset.images[index[::VALUES_EACH]])
    real = factor_scores(before, dataset.values[index[::VALUES_EACH]], truth.categorical.tolist())
    pixels = Pixels(subject, index)
    scores: dict[str, Any] = {
        "truth": truth.kind,
        "categories": [info.factor_names[f] for f in np.flatnonzero(truth.categorical)],
        "reader": {
            name: float(score) if np.isfinite(score) else None
            for name, score in zip(info.factor_names, real, strict=True)
        },
        "explained": truth.explained,
        "redrawn": pixels.redrawn,
    }
    before = np.repeat(before, VALUES_EACH, axis=0)
    results = []
    for factor, name in enumerate(info.factor_names):
        values = dataset.values[rng.choice(test, len(index)), factor]
        wanted = truth.counterfactual(dataset.values[index], factor, values)
        inside = truth.inside(wanted)
        wanted, done = wanted[inside], _do(subject, factor, index[inside], values[inside])
        pixels.compare(name, done, wanted, inside)
        own = _scores(subject, truth, factor, wanted, truth.read(done), before[inside])
        scores[f"{_SECTION}{name}"] = own
        subject.progress(f"do({name}): {_in_words(own)}")
        values = np.tile(settings[factor], len(shown)).astype(np.float32)
        results.append(to_uint8(_do(subject, factor, np.repeat(shown, _SHOWN_VALUES), values)))
    grid = (info.num_factors, len(shown), _SHOWN_VALUES)
    arrays = {
        "do_images": dataset.images[shown],
        "do_results": np.stack(results).reshape(*grid, *info.image_shape),
        "do_values": settings,
    }
    sections = {"interventions": scores, counterfactual_pixels.SECTION: pixels.section()}
    return Measured(sections, arrays)


def _truth(subject: Subject) -> _Truth:
    """The data set's mechanism, or a regression if it has none.

    Raises `UnsuitableData` if there are too few labels for a regression.
    """
    dataset, info = subject.dataset, subject.info
    if (known := subject.mechanism) is not None:
        return _Truth(
            "mechanism",
            lambda *arguments: np.asarray(known.counterfactual(*arguments)),
            lambda values: np.asarray(known.inside(values)),
            lambda images: by_referee(known, images),
            np.zeros(info.num_factors, bool),
            {},
        )
    assert info.graph is not None and subject.predictor is not None
    names = categorical(info)
    train = dataset.values[dataset.splits["train"]]
    regression = graph_regression.fit(train, info.graph, names.tolist())
    shares = regression.explained(dataset.values[subject.labelled])
    explained: dict[str, float | None] = {}
    for name, chosen, share in zip(info.factor_names, regression.chosen, shares, strict=True):
        if chosen is not None:
            explained[name] = share
            subject.progress(f"{name} from its causes: {chosen} regression, R² {_number(share)}")
    return _Truth(
        "regression",
        regression.counterfactual,
        lambda values: np.ones(len(values), bool),
        values_by(subject.predictor, dataset),
        names,
        explained,
    )


def _settings(subject: Subject, factor: int) -> Float[np.ndarray, " values"]:
    """Rising values to show: quantiles of a number, and all values of a category in turn."""
    values = subject.dataset.values[subject.labelled, factor]
    if subject.info.factor_sizes[factor]:
        values = np.unique(values)
        return values[np.linspace(0, len(values) - 1, _SHOWN_VALUES).round().astype(int)]
    return np.quantile(values, np.linspace(0.05, 0.95, _SHOWN_VALUES))


def _scores(
    subject: Subject,
    truth: _Truth,
    factor: int,
    wanted: Float[np.ndarray, "n f"],
    read: Float[np.ndarray, "n f"],
    before: Float[np.ndarray, "n f"],
) -> dict[str, Any]:
    """Scores of what was read from images under do(factor), and from the same images `before`."""
    dataset, info = subject.dataset, subject.info
    std = np.nanstd(dataset.values, 0) if info.value_std is None else np.array(info.value_std)

    def compare(values: np.ndarray) -> dict[str, Any]:
        return intervention_scores(
            values,
            wanted,
            factor,
            np.array(info.graph),
            np.where(truth.categorical | (std == 0), 1, std),
            truth.categorical.tolist(),
        )

    scores, unchanged = compare(read), compare(before)
    for kind in ("propagation_per_factor", "drift_per_factor"):
        by_factor = zip(info.factor_names, scores[kind], strict=True)
        scores[kind] = {name: value for name, value in by_factor if value is not None}
    scores["undefined"] = {info.factor_names[k]: why for k, why in scores["undefined"].items()}
    scores["unchanged"] = {kind: unchanged[kind] for kind in ("hit", "propagation", "drift")}
    return scores | {"split": "test"}


def _do(
    subject: Subject, factor: int, index: Int[np.ndarray, " n"], values: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n h w c"]:
    """Images with a factor set to values."""
    images = subject.dataset.images
    return in_chunks(
        lambda rows: subject.trained.do(images[index[rows]], {factor: values[rows]}),
        len(index),
        size=BATCH,
    )


def _number(score: float | None) -> str:
    return "–" if score is None else f"{score:.3f}"


def _in_words(scores: dict[str, Any]) -> str:
    parts = [] if scores["hit"] is None else [f"hit {scores['hit']:.3f}"]
    for kind in ("propagation", "drift"):
        values = [f"{name} {x:.3f}" for name, x in scores[f"{kind}_per_factor"].items()]
        parts += [f"{kind} {', '.join(values)}"] if values else []
    return "; ".join(parts)


def _is_estimated(metrics: Metrics) -> bool:
    return metrics["interventions"].get("truth") == "regression"


def _headlines(metrics: Metrics) -> list[Headline]:
    sections, lines = metrics["interventions"], []
    for name, scores in sections.items():
        if name.startswith(_SECTION):
            factor = name.removeprefix(_SECTION)
            score = "accuracy" if factor in sections.get("categories", ()) else "R²"
            notes = [
                f"{kind} {scores[kind]:.3f}"
                for kind in ("propagation", "drift")
                if scores[kind] is not None
            ]
            if _is_estimated(metrics) and scores["propagation"] is not None:
                notes[0] += " (estimated by regression along the graph)"
            label = f"do({factor}): {score} of {factor}"
            lines.append(Headline(label, _number(scores["hit"]), ", ".join(notes)))
    return lines + counterfactual_pixels.headlines(metrics)


def _figures(info: Info, metrics: Metrics, arrays: Arrays) -> list[Picture]:
    if "do_images" not in arrays:
        return []
    caption = (
        "Each row starts from one held-out image (orange frame). The columns set the factor to "
        "increasing values; its effects follow."
    )
    if _is_estimated(metrics):
        caption += (
            " The data set has no mechanism to compare with: what the effects should be is "
            "estimated by regression along the graph, and factors are read by a predictor."
        )
    return [
        Picture(f"do_{name}", f"do({name})", caption, _plot(name, factor, arrays))
        for factor, name in enumerate(info.factor_names)
    ]


def _tables(info: Info, metrics: Metrics) -> Tables:
    sections, columns = metrics["interventions"], []
    score = "R² or accuracy" if sections.get("categories") else "R²"
    if _is_estimated(metrics):
        columns.append(Column("R² of the regression on its causes", sections["explained"]))
    for cause in info.factor_names:
        scores = sections.get(f"{_SECTION}{cause}")
        if scores is not None:
            changed = {cause: scores["hit"]} | scores["propagation_per_factor"]
            columns += [
                Column(f"{score} under do({cause})", changed),
                Column(f"drift under do({cause})", scores["drift_per_factor"]),
            ]
    return Tables(by_factor=tuple(columns), whole=counterfactual_pixels.tables(info, metrics))


def _plot(name: str, factor: int, arrays: Arrays) -> Figure:
    """Rows are images; columns are the image itself and the factor set to increasing values."""
    images = arrays["do_images"]
    # A category with few values has some of them several times.
    values, chosen = np.unique(arrays["do_values"][factor], return_index=True)
    results = arrays["do_results"][factor][:, chosen]
    titles = ["image", *(f"{value:.3g}" for value in values)]
    figure = figures.image_grid(len(images), len(titles), images.shape[1:])
    for row, image in enumerate(images):
        for column, shown in enumerate((image, *results[row])):
            axes = figure.add_subplot(len(images), len(titles), row * len(titles) + column + 1)
            figures.show(axes, shown, edge=figures.LINE if column else figures.ORANGE)
            if row == 0:
                axes.set_title(titles[column], fontsize=11)
    figure.suptitle(f"do({name} = ...)", y=1 + 0.55 / figure.get_figheight(), fontsize=12)
    return figure


MEASUREMENT = Measurement(
    "do_interventions",
    _applies,
    _measure,
    section="interventions",
    headlines=_headlines,
    figures=_figures,
    tables=_tables,
    scores=counterfactual_pixels.SCORES,
)
