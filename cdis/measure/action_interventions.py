"""Interventions by action: does exactly the named factor move, by exactly one step?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from cdis.chunks import in_chunks
from cdis.data.info import Dataset, Info
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
    interval,
)
from cdis.measure.reconstruction import can_reconstruct, reconstruct, squared_error
from cdis.measure.sampling import MAX_INTERVENED, SEED, SHOWN_INTERVENTIONS, sample
from cdis.metrics.interventions import intervention_scores, target_factors
from cdis.ops.images import from_uint8, to_uint8
from cdis.trained import BATCH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class _Trials:
    """Every action on each of some images; a trial is one action on one image.

    Attributes:
      index: the image of each trial.
      action: its action.
      target: the factors that the image should have afterwards.
      valid: whether the action is possible.
    """

    def __init__(self, dataset: Dataset, images: Int[np.ndarray, " n"]):
        info = dataset.info
        self.index = np.repeat(images, info.num_actions)
        self.action = np.tile(np.arange(info.num_actions, dtype=np.int32), len(images))
        self.target, self.valid = target_factors(
            dataset.factors[self.index], self.action, info.factor_sizes, info.circular
        )


def _applies(subject: Subject) -> bool:
    return (
        subject.method.actions.intervene is not None
        and subject.has_steps
        and subject.predictor is not None
    )


def _measure(subject: Subject) -> Measured:
    if reason := subject.too_few_labels:
        return Measured({"interventions": {"reason": reason}})
    chosen = sample(subject.labelled, MAX_INTERVENED)
    scores = _scores(subject, chosen)
    if can_reconstruct(subject):
        error = squared_error(reconstruct(subject, chosen), subject.dataset.images[chosen])
        scores["mse_before"] = float(error.mean())
    subject.progress(
        f"interventions: {scores['count']} on {len(chosen)} test images, named factor moved "
        f"{scores['named_factor_moved']:.3f}, each other factor kept "
        f"{scores['other_factors_kept']:.3f}, all factors right {scores['all_factors_right']:.3f}"
    )
    shown = np.random.default_rng(SEED + 1).permutation(chosen)[:SHOWN_INTERVENTIONS]
    return Measured({"interventions": scores}, _shown(subject, shown))


def _scores(subject: Subject, chosen: Int[np.ndarray, " n"]) -> dict[str, Any]:
    """Scores of every possible action on each chosen image."""
    assert subject.predictor is not None
    dataset, info = subject.dataset, subject.info
    trials = _Trials(dataset, chosen)
    index, action = trials.index[trials.valid], trials.action[trials.valid]
    images = _intervene(subject, index, action)
    scores = intervention_scores(
        subject.predictor.predict(images),
        dataset.factors[index],
        action,
        info.factor_sizes,
        info.circular,
        image=index,
    )
    scores["per_action"] = dict(zip(info.action_names, scores["per_action"], strict=True))
    scores["kept_per_factor"] = dict(zip(info.factor_names, scores["kept_per_factor"], strict=True))
    scores |= {"split": "test", "num_images": len(chosen)}
    return scores | _errors(dataset, index, images, trials.target[trials.valid])


def _errors(
    dataset: Dataset,
    index: Int[np.ndarray, " n"],
    images: Float[np.ndarray, "n h w c"],
    target: Int[np.ndarray, "n f"],
) -> dict[str, float]:
    """Pixel errors against the true images after each action, where the data set has them."""
    truth = _find_images(target, dataset)
    known = truth >= 0
    if not known.any():
        return {}
    true_images = dataset.images[truth[known]]
    unchanged = from_uint8(dataset.images[index[known]])
    return {
        "mse": float(squared_error(images[known], true_images).mean()),
        "mse_if_nothing_was_done": float(squared_error(unchanged, true_images).mean()),
    }


def _find_images(factors: Int[np.ndarray, "n f"], dataset: Dataset) -> Int[np.ndarray, " n"]:
    """The image with each row of factors, in any split; -1 if none or several have them."""
    sizes = dataset.info.factor_sizes
    images = dataset.fully_labelled(np.arange(len(dataset.factors)))
    cell = np.ravel_multi_index(tuple(dataset.factors[images].T.astype(np.int64)), sizes)
    cells, first, count = np.unique(cell, return_index=True, return_counts=True)
    wanted = np.ravel_multi_index(tuple(factors.T.astype(np.int64)), sizes)
    place = np.searchsorted(cells, wanted).clip(0, len(cells) - 1)
    return np.where((cells[place] == wanted) & (count[place] == 1), images[first[place]], -1)


def _intervene(
    subject: Subject, index: Int[np.ndarray, " n"], action: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n h w c"]:
    images = subject.dataset.images
    return in_chunks(
        lambda rows: subject.trained.intervene(images[index[rows]], action[rows]),
        len(index),
        size=BATCH,
    )


def _shown(subject: Subject, chosen: Int[np.ndarray, " n"]) -> Arrays:
    """Every action on a few images, for the figure."""
    assert subject.predictor is not None
    trials = _Trials(subject.dataset, chosen)
    images = _intervene(subject, trials.index, trials.action)
    right = (subject.predictor.predict(images) == trials.target).all(1)
    grid = (len(chosen), subject.info.num_actions)
    return {
        "intervention_images": subject.dataset.images[chosen],
        "intervention_results": to_uint8(images).reshape(*grid, *images.shape[1:]),
        "intervention_right": right.reshape(grid),
        "intervention_valid": trials.valid.reshape(grid),
    }


def _headlines(metrics: Metrics) -> list[Headline]:
    scores = metrics["interventions"]
    return [
        Headline(label, f"{scores[key]:.3f}", interval(scores, key))
        for key, label in (
            ("named_factor_moved", "named factor moved one step"),
            ("other_factors_kept", "each other factor kept"),
            ("all_factors_right", "all factors right"),
        )
        if key in scores
    ]


def _figures(info: Info, metrics: Metrics, arrays: Arrays) -> list[Picture]:
    if "intervention_images" not in arrays:
        return []
    caption = (
        "Each row starts from one held-out image (orange frame); each column applies one action to "
        "it. Only the named factor should change, by one step. A red frame marks images in which "
        "the factor predictor reads anything else."
    )
    return [Picture("interventions", "Interventions", caption, _plot(info, arrays))]


def _tables(info: Info, metrics: Metrics) -> Tables:
    scores = metrics["interventions"]
    if "per_action" not in scores:
        return Tables()

    def column(title: str, key: str, form: str = ".3f") -> Column:
        per_action = scores["per_action"]
        return Column(title, {name: per_action[name][key] for name in per_action}, form)

    return Tables(
        by_action=(
            column("interventions", "count", "d"),
            column("named factor moved", "named_factor_moved"),
            column("others kept", "other_factors_kept"),
        ),
        by_factor=(Column("kept when another is named", scores["kept_per_factor"]),),
    )


def _plot(info: Info, arrays: Arrays) -> Figure:
    """Rows are images; columns are the image itself and the result of every action."""
    images, results = arrays["intervention_images"], arrays["intervention_results"]
    right, valid = arrays["intervention_right"], arrays["intervention_valid"]
    columns = 1 + info.num_actions
    figure = figures.image_grid(len(images), columns, images.shape[1:])
    titles = ["image", *figures.action_labels(info)]
    for row, column in np.ndindex(len(images), columns):
        axes = figure.add_subplot(len(images), columns, row * columns + column + 1)
        if row == 0:
            axes.set_title(titles[column], fontsize=11)
        if column == 0:
            figures.show(axes, images[row], edge=figures.ORANGE)
        elif valid[row, column - 1]:
            edge = figures.LINE if right[row, column - 1] else figures.RED
            figures.show(axes, results[row, column - 1], edge=edge)
        else:
            _show_impossible(axes, images[row])
    return figure


def _show_impossible(axes: Axes, image: np.ndarray) -> None:
    figures.show(axes, np.full_like(image, 235))
    axes.text(
        0.5, 0.5, "at the end\nof its range", ha="center", va="center", fontsize=8,
        color=figures.GREY, transform=axes.transAxes,
    )  # fmt: skip


MEASUREMENT = Measurement(
    "action_interventions",
    _applies,
    _measure,
    section="interventions",
    headlines=_headlines,
    figures=_figures,
    tables=_tables,
)
