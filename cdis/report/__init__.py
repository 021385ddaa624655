"""What evaluation measured, as pictures and as one self-contained page."""

import json
import os
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cdis.data.info import Info
from cdis.evaluate import ARRAYS, METRICS, evaluate
from cdis.files import write_bytes
from cdis.report import actions, causal
from cdis.report.figures import code_usage, losses, png, reconstructions
from cdis.report.page import html_page
from cdis.train.checkpoint import full_disk_is_the_users, restore
from cdis.train.log import read_log

PICTURES = "pictures"
PAGE = "report/index.html"


def write_pictures(
    workdir: str | os.PathLike,
    data_dir: str | None = None,
    *,
    progress: Callable[[str], None] = print,
) -> list[Path]:
    """Draws pictures/*.png of what evaluation measured and returns their paths.

    Measures first (`cdis.evaluate`) if metrics.json is missing or of another step than the newest
    checkpoint. Pictures of what the method cannot do are not drawn. Raises `UserError` for a
    workdir without a usable checkpoint.
    """
    return _write_pictures(Path(workdir), *_measured(Path(workdir), data_dir, progress))


def report(
    workdir: str | os.PathLike,
    data_dir: str | None = None,
    *,
    progress: Callable[[str], None] = print,
) -> Path:
    """Writes the pictures and report/index.html, and returns the path of the page.

    The page is one file that needs no other: pictures are inside it, nothing is fetched. It
    measures and raises as `write_pictures` does.
    """
    workdir = Path(workdir)
    info, config, metrics, arrays = _measured(workdir, data_dir, progress)
    pictures = _write_pictures(workdir, info, config, metrics, arrays)
    page = html_page(workdir.absolute().name, info, config, metrics, pictures)
    with full_disk_is_the_users(workdir):
        write_bytes(workdir / PAGE, page.encode())
    return workdir / PAGE


def _measured(
    workdir: Path, data_dir: str | None, progress: Callable[[str], None]
) -> tuple[Info, Any, dict[str, Any], dict[str, np.ndarray]]:
    restored = restore(workdir)
    try:
        metrics = json.loads((workdir / METRICS).read_text())
        arrays = _read_arrays(workdir)
        fresh = metrics["step"] == restored.step
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        fresh, metrics, arrays = False, {}, {}
    if not fresh:
        metrics = evaluate(workdir, data_dir, progress=progress)
        arrays = _read_arrays(workdir)
    return restored.info, restored.config, metrics, arrays


def _read_arrays(workdir: Path) -> dict[str, np.ndarray]:
    # From memory: of a truncated file np.load would leave the handle open.
    with np.load(BytesIO((workdir / ARRAYS).read_bytes())) as stored:
        return {name: stored[name] for name in stored.files}


def _write_pictures(
    workdir: Path, info: Info, config: Any, metrics: dict[str, Any], arrays: dict[str, np.ndarray]
) -> list[Path]:
    figures: dict[str, Figure] = {}
    lines = read_log(workdir)
    if lines:
        figures["losses"] = losses(lines)
    if "reconstruction_images" in arrays:
        figures["reconstructions"] = reconstructions(arrays)
    if "intervention_images" in arrays:
        figures["interventions"] = actions.interventions(info, arrays)
    if "do_images" in arrays:
        for factor, name in enumerate(info.factor_names):
            figures[f"do_{name}"] = causal.slider(name, factor, arrays)
    if "edge_strength" in arrays:
        figures["edge_strength"] = causal.edge_strength(info, arrays["edge_strength"])
    if "action_retrieval" in metrics:
        figures["confusion"] = actions.confusion(info, metrics["action_retrieval"])
    if "mask" in arrays:
        figures["masks"] = actions.masks(info, arrays["mask"])
        figures["edges"] = actions.edges(info, arrays["edges"], arrays["edges_no_action"])
    if "codes" in metrics:
        figures["codes"] = code_usage(metrics["codes"])
    if "node_factor_mi" in metrics.get("graph", {}):
        information = np.array(metrics["graph"]["node_factor_mi"])
        figures["node_factor"] = actions.node_factor(info, information)
    paths = []
    with full_disk_is_the_users(workdir):
        for name, figure in figures.items():
            path = workdir / PICTURES / f"{name}.png"
            write_bytes(path, png(figure))
            paths.append(path)
    return paths
