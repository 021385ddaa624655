"""A split by combination: what the test split consists of, and scores on seen combinations.

The other measurements use the test split, which consists of unseen combinations. Here some of them
are repeated on the split "seen", held-out images whose combinations occur in training. What is
lower on the test split than there is due to the combinations. Interventions on the two factors
lead from some of the seen combinations to unseen ones, and back.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int

from cdis.data.combinations import SEEN
from cdis.data.info import Info
from cdis.measure import action_interventions, action_retrieval, reconstruction
from cdis.measure.base import (
    Column,
    Headline,
    Measured,
    Measurement,
    Metrics,
    Subject,
    Table,
    Tables,
)
from cdis.measure.reading import known_labels
from cdis.metrics.factor_predictor import FactorPredictor, factor_scores

_REPEATED = (
    action_retrieval.MEASUREMENT,
    action_interventions.MEASUREMENT,
    reconstruction.MEASUREMENT,
)
_ROWS = {
    "action_retrieval": {
        "directed": "action retrieval, directed",
        "undirected": "action retrieval, undirected",
    },
    "interventions": {
        "named_factor_moved": "named factor moved",
        "other_factors_kept": "each other factor kept",
        "all_factors_right": "all factors right",
    },
    "reconstruction": {
        "mse": "reconstruction MSE",
        "factor_accuracy": "factors read from reconstructions",
        "factor_accuracy_real_images": "factors read from the images themselves",
    },
}


def _applies(subject: Subject) -> bool:
    return subject.dataset.unseen is not None


def _measure(subject: Subject) -> Measured:
    dataset, unseen = subject.dataset, subject.dataset.unseen
    assert unseen is not None
    scores: dict[str, Any] = {
        "share": unseen.share,
        "count": len(unseen.combinations),
        "count_all": unseen.occurring,
        "combinations": [list(cell) for cell in unseen.combinations],
        "num_test_images": len(subject.test),
        "num_seen_images": len(dataset.splits[SEEN]),
    }
    if len(dataset.splits[SEEN]):
        scores |= _on_seen(subject)
    return Measured({"unseen_combinations": scores})


def _on_seen(subject: Subject) -> Metrics:
    """The sections of the repeated measurements, named "seen_NAME"."""
    index = subject.dataset.splits[SEEN]
    seen = Subject(
        subject.trained,
        replace(subject.dataset, splits=subject.dataset.splits | {"test": index}),
        mechanism=subject.mechanism,
        find_predictor=lambda: _scored_on(subject, index),
        progress=lambda line: subject.progress(f"seen combinations: {line}"),
    )
    sections = {}
    for measurement in _REPEATED:
        if measurement.applies(seen):
            section = measurement.section or measurement.name
            scores = measurement.measure(seen).scores[section]
            sections[f"seen_{section}"] = scores | {"split": SEEN}
    return sections


def _scored_on(subject: Subject, index: Int[np.ndarray, " n"]) -> FactorPredictor | None:
    """The predictor, with how well it reads these images."""
    if subject.predictor is None:
        return None
    images, info = subject.dataset.images[index], subject.info
    wanted = known_labels(subject.dataset, index)
    scores = factor_scores(subject.predictor.predict(images), wanted, info.factor_sizes)
    return subject.predictor._replace(real_score=scores)


def _headlines(metrics: Metrics) -> list[Headline]:
    scores = metrics["unseen_combinations"]
    note = f"the {scores['num_test_images']:,} test images; none in training has one of them"
    return [
        Headline(
            f"unseen combinations of {' and '.join(metrics['unseen'])}",
            f"{scores['count']} of {scores['count_all']}",
            note,
        )
    ]


def _tables(info: Info, metrics: Metrics) -> Tables:
    scores = metrics["unseen_combinations"]

    def column(title: str, prefix: str, sections: Metrics) -> Column:
        values = {
            row: sections[f"{prefix}{section}"][score]
            for section, rows in _ROWS.items()
            for score, row in rows.items()
            if score in sections.get(f"{prefix}{section}", {})
        }
        return Column(title, values, ".4f")

    unseen, seen = column("unseen", "", metrics), column("seen", "seen_", scores)
    if not seen.values:
        return Tables()
    caption = (
        f"Combinations of {' and '.join(metrics['unseen'])}: the test split, and held-out images "
        "whose combinations occur in training."
    )
    rows = tuple(row for row in unseen.values if row in seen.values)
    table = Table("Unseen and seen combinations", caption, "score", rows, (unseen, seen))
    return Tables(whole=(table,))


MEASUREMENT = Measurement(
    "unseen_combinations", _applies, _measure, headlines=_headlines, tables=_tables
)
