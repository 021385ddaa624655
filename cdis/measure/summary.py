"""The numbers that matter most."""

from collections.abc import Sequence

from cdis.measure.base import Headline, Measurement, Metrics
from cdis.measure.catalogue import MEASUREMENTS


def all_headlines(metrics: Metrics, measurements: Sequence[Measurement]) -> list[Headline]:
    """Headlines of all measurements made, then how long training took."""
    lines = []
    for measurement in measurements:
        if measurement.is_in(metrics):
            lines += measurement.headlines(metrics)
    if "timing" in metrics:
        minutes, seconds = divmod(round(metrics["timing"]["train_seconds"]), 60)
        lines.append(
            Headline("training time", f"{minutes}:{seconds:02}", "min:s, including compilation")
        )
    return lines


def headlines(metrics: Metrics, measurements: Sequence[Measurement] = MEASUREMENTS) -> list[str]:
    """A line of text for each headline of metrics.json, aligned."""
    lines = all_headlines(metrics, measurements)
    labels = max((len(line.label) for line in lines), default=0)
    values = max((len(line.value) for line in lines), default=0)
    return [
        f"{line.label:{labels}}  {line.value:>{values}}  {line.note}".rstrip() for line in lines
    ]
