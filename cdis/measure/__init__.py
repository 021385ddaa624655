"""Measures a trained method on images that it was not trained on. One file is one measurement.

`evaluate` writes a workdir's metrics.json; `report` presents it as figures and a page; `compare`
puts several workdirs side by side. They walk over `MEASUREMENTS` and know nothing of any of them.
Each takes a tuple of its own, to add a measurement without editing cdis:

    evaluate(workdir, measurements=(*MEASUREMENTS, mine))

A `Measurement` takes a `Subject` and returns scores and arrays (`Measured`).
"""

from cdis.measure.base import (
    Column,
    Headline,
    Measured,
    Measurement,
    Picture,
    Subject,
    Table,
    Tables,
)
from cdis.measure.catalogue import MEASUREMENTS
from cdis.measure.comparison import compare, markdown
from cdis.measure.evaluation import evaluate, measure
from cdis.measure.reporting import report, write_pictures
from cdis.measure.summary import headlines

__all__ = [
    "MEASUREMENTS",
    "Column",
    "Headline",
    "Measured",
    "Measurement",
    "Picture",
    "Subject",
    "Table",
    "Tables",
    "compare",
    "evaluate",
    "headlines",
    "markdown",
    "measure",
    "report",
    "write_pictures",
]
