"""What a measurement is, and what it measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from cdis.chunks import in_chunks
from cdis.data import Mechanism
from cdis.data.info import Dataset, Info
from cdis.measure import reading
from cdis.methods.base import Method
from cdis.metrics.factor_predictor import FactorPredictor
from cdis.trained import BATCH, Trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The content of metrics.json: sections by name.
Metrics = dict[str, Any]
#: The content of evaluation.npz: what figures need beside the metrics.
Arrays = Mapping[str, np.ndarray]
Progress = Callable[[str], None]
_NOTHING: Mapping[str, Any] = MappingProxyType({})
#: Fewer labelled test images than this are not measured, if there are more without labels.
MIN_LABELLED = 50


class Subject:
    """A trained method and the data set to measure it on.

    Attributes:
      trained: the method's functions on NumPy arrays.
      dataset: images, factors and splits. Measurements use the test split unless they say
        otherwise.
      mechanism: the true causal mechanism of the data, if known.
      progress: reports a line of text to the user.
    """

    def __init__(
        self,
        trained: Trained,
        dataset: Dataset,
        *,
        mechanism: Mechanism | None = None,
        find_predictor: Callable[[], FactorPredictor | None] = lambda: None,
        progress: Progress = print,
    ):
        """`find_predictor` trains or loads the factor predictor when it is first needed."""
        self.trained, self.dataset = trained, dataset
        self.mechanism, self.progress = mechanism, progress
        self._find_predictor = find_predictor

    @property
    def method(self) -> Method:
        """The method that was trained."""
        return self.trained.method

    @property
    def info(self) -> Info:
        """Facts about the data set."""
        return self.dataset.info

    @property
    def test(self) -> Int[np.ndarray, " n"]:
        """Indices of the test images."""
        return self.dataset.splits["test"]

    @cached_property
    def labelled(self) -> Int[np.ndarray, " n"]:
        """Indices of the test images whose labels are all known."""
        return self.dataset.fully_labelled(self.test)

    @property
    def too_few_labels(self) -> str | None:
        """Why test images cannot be compared with their labels; None if they can."""
        if len(self.labelled) >= min(MIN_LABELLED, len(self.test)):
            return None
        return (
            f"Only {len(self.labelled)} of {len(self.test)} test images have all their labels; at "
            f"least {MIN_LABELLED} are needed."
        )

    @property
    def has_steps(self) -> bool:
        """Are there actions? A continuous factor has no steps."""
        return all(self.info.factor_sizes)

    @cached_property
    def predictor(self) -> FactorPredictor | None:
        """Reads factors from images: the mechanism's referee, if it reads them all as numbers, or
        what `find_predictor` found; None if there is neither.
        """
        if self.mechanism is not None and not any(self.info.factor_sizes):
            return reading.referee(self.mechanism, self.dataset)
        return self._find_predictor()

    def encode(self, index: Int[np.ndarray, " n"]) -> dict[str, np.ndarray]:
        """Representations of images, given by index; few images are in memory at a time."""
        images = self.dataset.images
        return in_chunks(
            lambda rows: self.trained.encode(images[rows], self.given(rows)), index, size=BATCH
        )

    def given(self, index: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n f"] | None:
        """The labels of images as the method is given them; None: it has images alone."""
        return self.dataset.values[index] if self.method.labels_at_evaluation else None


class Measured(NamedTuple):
    """The result of a measurement."""

    scores: Metrics  #: sections of metrics.json; several measurements may fill one section
    arrays: Arrays = _NOTHING


class Headline(NamedTuple):
    """A number worth seeing first: a line on the terminal and a card on the page."""

    label: str
    value: str
    note: str = ""  #: an interval, a baseline, a unit


class Picture(NamedTuple):
    """A figure on the page."""

    name: str  #: of the file pictures/NAME.png
    title: str
    caption: str
    figure: Figure


class Column(NamedTuple):
    """A column of a table: a value for each row, by the name of the row."""

    title: str
    values: dict[str, Any]  #: None for a missing value
    form: str = ".3f"  #: as for `format`


class Table(NamedTuple):
    """A table of its own on the page."""

    title: str
    caption: str
    corner: str  #: what the rows are, as the title of the first column
    rows: tuple[str, ...]
    columns: tuple[Column, ...]


class Tables(NamedTuple):
    """What a measurement adds to the tables of the page."""

    by_action: tuple[Column, ...] = ()  #: columns with a value for each action
    by_factor: tuple[Column, ...] = ()  #: columns with a value for each factor
    whole: tuple[Table, ...] = ()


class Measurement(NamedTuple):
    """One thing that can be measured of a trained method, and how to present it.

    The functions that present it are called only if metrics.json has its section.
    """

    name: str
    applies: Callable[[Subject], bool]  #: does the method have what is measured?
    measure: Callable[[Subject], Measured]  #: does not change the subject
    section: str = ""  #: of metrics.json; "": the name
    headlines: Callable[[Metrics], list[Headline]] = lambda metrics: []
    figures: Callable[[Info, Metrics, Arrays], list[Picture]] = lambda info, metrics, arrays: []
    tables: Callable[[Info, Metrics], Tables] = lambda info, metrics: Tables()
    #: rows of `compare`: dotted name of a number in metrics.json -> title
    scores: Mapping[str, str] = _NOTHING

    def is_in(self, metrics: Metrics) -> bool:
        """Do these metrics have its section, with more in it than a "reason" why it is empty?"""
        section = self.section or self.name
        return section in metrics and section not in reasons(metrics)


def reasons(metrics: Metrics) -> dict[str, str]:
    """Why sections of metrics.json could not be measured, by section."""
    return {
        section: scores["reason"]
        for section, scores in metrics.items()
        if isinstance(scores, dict) and set(scores) == {"reason"}
    }


def interval(scores: dict[str, Any], name: str) -> str:
    """The 95 % interval of a score, in brackets."""
    low, high = scores[f"{name}_interval"]
    return f"[{low:.3f}, {high:.3f}]"
