"""From metrics.json to figures and a page."""

import json
import os
import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cdis.files import write_bytes
from cdis.measure import training
from cdis.measure.base import Arrays, Measurement, Metrics, Picture, Progress
from cdis.measure.catalogue import MEASUREMENTS
from cdis.measure.evaluation import ARRAYS, evaluate
from cdis.measure.figures import png
from cdis.measure.page import html_page
from cdis.measure.summary import all_headlines
from cdis.training.checkpoint import Restored, full_disk_is_the_users, restore
from cdis.training.log import read_log
from cdis.training.workdir import METRICS

PICTURES = "pictures"
PAGE = "report/index.html"


def write_pictures(
    workdir: str | os.PathLike,
    data_dir: str | None = None,
    *,
    measurements: Sequence[Measurement] = MEASUREMENTS,
    progress: Progress = print,
) -> list[Path]:
    """Write pictures/*.png, the figures of what was measured, and return their paths.

    Evaluates first if metrics.json is missing or does not belong to the newest checkpoint. Raises
    `UserError` for a workdir without a usable checkpoint.
    """
    workdir = Path(workdir)
    results = _results(workdir, data_dir, measurements, progress)
    pictures = _write_pictures(workdir, results, measurements)
    return [_path(workdir, picture) for picture, _ in pictures]


def report(
    workdir: str | os.PathLike,
    data_dir: str | None = None,
    *,
    measurements: Sequence[Measurement] = MEASUREMENTS,
    progress: Progress = print,
) -> Path:
    """Write the pictures and report/index.html, and return the path of the page.

    The page is a single file with the pictures inside; it fetches nothing. Evaluates and raises as
    `write_pictures` does.
    """
    workdir = Path(workdir)
    results = _results(workdir, data_dir, measurements, progress)
    restored, metrics = results.restored, results.metrics
    page = html_page(
        workdir.absolute().name,
        restored.info,
        restored.config,
        metrics,
        headlines=all_headlines(metrics, measurements),
        tables=[m.tables(restored.info, metrics) for m in measurements if m.is_in(metrics)],
        pictures=_write_pictures(workdir, results, measurements),
    )
    with full_disk_is_the_users(workdir):
        write_bytes(workdir / PAGE, page.encode())
    return workdir / PAGE


class _Results(NamedTuple):
    """A run and what was measured of it."""

    restored: Restored
    metrics: Metrics
    arrays: Arrays


def _results(
    workdir: Path,
    data_dir: str | None,
    measurements: Sequence[Measurement],
    progress: Progress,
) -> _Results:
    """What was measured of the newest checkpoint; measured now if need be."""
    restored = restore(workdir)
    try:
        metrics = json.loads((workdir / METRICS).read_text())
        arrays = _read_arrays(workdir)
        if metrics["step"] == restored.step:
            return _Results(restored, metrics, arrays)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        pass  # missing or damaged
    metrics = evaluate(workdir, data_dir, measurements=measurements, progress=progress)
    return _Results(restored, metrics, _read_arrays(workdir))


def _read_arrays(workdir: Path) -> Arrays:
    # Read into memory first: np.load does not close a truncated file.
    with np.load(BytesIO((workdir / ARRAYS).read_bytes())) as stored:
        return {name: stored[name] for name in stored.files}


def _write_pictures(
    workdir: Path, results: _Results, measurements: Sequence[Measurement]
) -> list[tuple[Picture, bytes]]:
    """All figures and their PNG files, which are written to the workdir."""
    info, metrics, arrays = results.restored.info, results.metrics, results.arrays
    pictures = []
    for measurement in measurements:
        if measurement.is_in(metrics):
            pictures += measurement.figures(info, metrics, arrays)
    pictures += training.pictures(read_log(workdir))
    files = [(picture, png(picture.figure)) for picture in pictures]
    with full_disk_is_the_users(workdir):
        for picture, content in files:
            write_bytes(_path(workdir, picture), content)
    return files


def _path(workdir: Path, picture: Picture) -> Path:
    return workdir / PICTURES / f"{picture.name}.png"
