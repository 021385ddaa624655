"""What evaluation measured, as pictures and as one self-contained page."""

import base64
import html
import json
import os
import zipfile
from collections.abc import Callable
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cdis import data
from cdis.config import to_json
from cdis.data.info import Info
from cdis.evaluate import ARRAYS, METRICS, evaluate
from cdis.files import write_bytes
from cdis.train.checkpoint import full_disk_is_the_users, restore
from cdis.train.log import read_log

PICTURES = "pictures"
PAGE = "report/index.html"

_BLUE, _ORANGE, _RED, _GREY, _LINE = "#2f6db5", "#d9772b", "#c8352b", "#8a8f98", "#c8ccd2"
_DPI = 130
#: Beyond so many nodes or codes a heat map no longer names each.
_MANY = 32


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
    page = _page(workdir.absolute().name, info, config, metrics, pictures)
    with full_disk_is_the_users(workdir):
        write_bytes(workdir / PAGE, page.encode())
    return workdir / PAGE


def _measured(
    workdir: Path, data_dir: str | None, progress: Callable[[str], None]
) -> tuple[Info, Any, dict[str, Any], dict[str, np.ndarray]]:
    config, _, step = restore(workdir)
    try:
        metrics = json.loads((workdir / METRICS).read_text())
        arrays = _read_arrays(workdir)
        fresh = metrics["step"] == step
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        fresh, metrics, arrays = False, {}, {}
    if not fresh:
        metrics = evaluate(workdir, data_dir, progress=progress)
        arrays = _read_arrays(workdir)
    return data.info(config.data.name), config, metrics, arrays


def _read_arrays(workdir: Path) -> dict[str, np.ndarray]:
    # From memory: of a truncated file np.load would leave the handle open.
    with np.load(BytesIO((workdir / ARRAYS).read_bytes())) as stored:
        return {name: stored[name] for name in stored.files}


# --- pictures -----------------------------------------------------------------------------------


def _write_pictures(
    workdir: Path, info: Info, config: Any, metrics: dict[str, Any], arrays: dict[str, np.ndarray]
) -> list[Path]:
    figures: dict[str, Figure] = {}
    lines = read_log(workdir)
    if lines:
        figures["losses"] = _losses(lines)
    if "reconstruction_images" in arrays:
        figures["reconstructions"] = _reconstructions(arrays)
    if "intervention_images" in arrays:
        figures["interventions"] = _interventions(info, arrays)
    if "do_images" in arrays:
        for factor, name in enumerate(info.factor_names):
            figures[f"do_{name}"] = _slider(name, factor, arrays)
    if "edge_strength" in arrays:
        figures["edge_strength"] = _edge_strength(info, arrays["edge_strength"])
    if "action_retrieval" in metrics:
        figures["confusion"] = _confusion(info, metrics["action_retrieval"])
    if "mask" in arrays:
        figures["masks"] = _masks(info, arrays["mask"])
        figures["edges"] = _edges(info, arrays["edges"], arrays["edges_no_action"])
    if "codes" in metrics:
        figures["codes"] = _code_usage(metrics["codes"])
    if "node_factor_mi" in metrics.get("graph", {}):
        figures["node_factor"] = _node_factor(info, np.array(metrics["graph"]["node_factor_mi"]))
    paths = []
    with full_disk_is_the_users(workdir):
        for name, figure in figures.items():
            path = workdir / PICTURES / f"{name}.png"
            write_bytes(path, _png(figure))
            paths.append(path)
    return paths


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, facecolor="white", bbox_inches="tight")
    return buffer.getvalue()


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def _image_grid(rows: int, columns: int) -> Figure:
    """A figure for many small images; laid out by hand, which is far faster than constrained."""
    figure = Figure(figsize=(1.15 * columns, 1.15 * rows))
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1, wspace=0.08, hspace=0.08)
    return figure


def _losses(lines: list[dict[str, Any]]) -> Figure:
    """One panel per logged quantity, validation beside training, stages marked."""
    left_out = {"step", "stage", "time", "steps_per_second", "gradient_norm"}
    # By quantity, then by ("" or "validation") and stage: a line does not lead across stages.
    curves: dict[str, dict[tuple[str, str], list[tuple[int, float]]]] = {}
    for line in lines:
        for name, value in line.items():
            kind, _, base = name.rpartition("/")
            if base not in left_out and isinstance(value, int | float):
                points = curves.setdefault(base, {}).setdefault((kind, line["stage"]), [])
                points.append((line["step"], value))
    names = sorted(curves, key=lambda name: name != "loss")
    ends = [first["step"] for first, second in pairwise(lines) if first["stage"] != second["stage"]]
    across = min(3, len(names))
    down = -(-len(names) // across)
    figure = _figure(4.2 * across, 2.6 * down)
    for place, name in enumerate(names):
        axes = figure.add_subplot(down, across, place + 1)
        labelled: set[str] = set()
        for (kind, _), points in curves[name].items():
            steps, values = zip(*points, strict=True)
            label = None if kind in labelled else kind or "training"
            labelled.add(kind)
            marker = "." if kind or len(steps) < 3 else None
            colour = _ORANGE if kind else _BLUE
            axes.plot(steps, values, color=colour, lw=1.4, label=label, marker=marker)
        for end in ends:
            axes.axvline(end, color=_GREY, lw=0.8, ls=":")
        axes.set_title(name, fontsize=10, loc="left")
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25, lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        if place >= len(names) - across:
            axes.set_xlabel("step", fontsize=9)
        if len(labelled) > 1:
            axes.legend(fontsize=8, frameon=False)
    return figure


def _reconstructions(arrays: dict[str, np.ndarray]) -> Figure:
    rows = (arrays["reconstruction_images"], arrays["reconstruction_decoded"])
    count = len(rows[0])
    figure = _image_grid(2, count)
    for row, (name, images) in enumerate(zip(("image", "decoded"), rows, strict=True)):
        for column, image in enumerate(images):
            axes = figure.add_subplot(2, count, row * count + column + 1)
            _show(axes, image)
            if column == 0:
                axes.set_ylabel(name, fontsize=11)
    return figure


def _interventions(info: Info, arrays: dict[str, np.ndarray]) -> Figure:
    """Rows are held-out images, columns the image itself and the outcome of every action."""
    images, results = arrays["intervention_images"], arrays["intervention_results"]
    valid = arrays["intervention_valid"]
    columns = 1 + info.num_actions
    figure = _image_grid(len(images), columns)
    for row in range(len(images)):
        for column in range(columns):
            axes = figure.add_subplot(len(images), columns, row * columns + column + 1)
            if column == 0:
                _show(axes, images[row], edge=_ORANGE)
            elif valid[row, column - 1]:
                right = arrays["intervention_right"][row, column - 1]
                _show(axes, results[row, column - 1], edge=_LINE if right else _RED)
            else:
                _show(axes, np.full_like(images[row], 235))
                axes.text(
                    0.5, 0.5, "at the end\nof its range", ha="center", va="center", fontsize=8,
                    color=_GREY, transform=axes.transAxes,
                )  # fmt: skip
            if row == 0:
                title = "image" if column == 0 else _arrow(info.action_names[column - 1])
                axes.set_title(title, fontsize=11)
    return figure


def _slider(name: str, factor: int, arrays: dict[str, np.ndarray]) -> Figure:
    """Rows are held-out images, columns the image itself and a factor set to rising values."""
    images, results = arrays["do_images"], arrays["do_results"][factor]
    values = arrays["do_values"][factor]
    columns = 1 + len(values)
    figure = _image_grid(len(images), columns)
    for row, image in enumerate(images):
        for column, shown in enumerate((image, *results[row])):
            axes = figure.add_subplot(len(images), columns, row * columns + column + 1)
            _show(axes, shown, edge=_LINE if column else _ORANGE)
            if row == 0:
                axes.set_title(f"{values[column - 1]:.3g}" if column else "image", fontsize=11)
    figure.suptitle(f"do({name} = ...)", y=1.06, fontsize=12)
    return figure


def _edge_strength(info: Info, strength: np.ndarray) -> Figure:
    """Row i holds what moves factor i; frames mark the edges of the true graph, where known."""
    size = 0.7 * info.num_factors
    figure = _figure(size + 3.4, size + 2.0)
    axes = figure.add_subplot()
    limit = max(float(strength.max()), 1e-3)
    picture = axes.imshow(strength, cmap="Blues", vmin=0, vmax=limit)
    names = list(info.factor_names)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("from")
    axes.set_ylabel("into")
    for i, j in np.ndindex(*strength.shape):
        if strength[i, j] > 0:
            colour = "white" if strength[i, j] > 0.55 * limit else "#24292f"
            axes.text(j, i, f"{strength[i, j]:.2f}", ha="center", va="center", color=colour)
    for i, j in np.argwhere(np.array(info.graph)) if info.graph is not None else ():
        axes.add_patch(Rectangle((j - 0.47, i - 0.47), 0.94, 0.94, fill=False, ec=_ORANGE, lw=2))
    figure.colorbar(picture, ax=axes, shrink=0.8, label="edge strength")
    return figure


def _show(axes: Axes, image: np.ndarray, edge: str = _LINE) -> None:
    grey = image.shape[-1] == 1
    axes.imshow(
        image[..., 0] if grey else image, cmap="gray", vmin=0, vmax=255, interpolation="nearest"
    )
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(edge)
        spine.set_linewidth(0.8 if edge == _LINE else 2.0)


def _confusion(info: Info, scores: dict[str, Any]) -> Figure:
    """Rows sum to one; counts beside them."""
    counts = np.array(scores["confusion"])
    total = counts.sum(1, keepdims=True)
    share = counts / np.maximum(total, 1)
    names = [_arrow(name) for name in info.action_names]
    size = 0.62 * len(names)
    figure = _figure(size + 2.6, size + 1.6)
    axes = figure.add_subplot()
    picture = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    labels = [f"{name}  ({n})" for name, n in zip(names, total[:, 0], strict=True)]
    axes.set_yticks(range(len(names)), labels)
    axes.set_xlabel("action retrieved")
    axes.set_ylabel("true action (number of pairs)")
    axes.set_title(
        f"directed {scores['directed']:.3f}, undirected {scores['undirected']:.3f}; "
        f"chance {scores['chance_directed']:.2f}, {scores['chance_undirected']:.2f}",
        fontsize=11,
    )
    for i, j in zip(*np.nonzero(counts), strict=True):
        text = f"{share[i, j]:.2f}".replace("0.", ".") if share[i, j] < 0.995 else "1"
        colour = "white" if share[i, j] > 0.55 else "#24292f"
        axes.text(j, i, text, ha="center", va="center", fontsize=9, color=colour)
    half = info.num_factors - 0.5
    axes.axhline(half, color=_GREY, lw=0.8)
    axes.axvline(half, color=_GREY, lw=0.8)
    figure.colorbar(picture, ax=axes, shrink=0.7, label="share of the row")
    return figure


def _masks(info: Info, mask: np.ndarray) -> Figure:
    figure = _figure(_map_width(mask.shape[1]), 0.36 * len(mask) + 1.2)
    _heat(
        figure.add_subplot(), mask, [_arrow(name) for name in info.action_names], "node",
        "how often the action hits the node",
    )  # fmt: skip
    return figure


def _node_factor(info: Info, information: np.ndarray) -> Figure:
    figure = _figure(_map_width(len(information)), 0.42 * info.num_factors + 1.2)
    _heat(
        figure.add_subplot(), information.T, list(info.factor_names), "node",
        "mutual information\n(share of the factor's entropy)",
    )  # fmt: skip
    return figure


def _code_usage(codes: dict[str, Any]) -> Figure:
    usage = np.array(codes["usage"])
    perplexity = np.array(codes["per_codebook"])
    order = -np.sort(-usage, axis=1)
    figure = _figure(9, 3.4)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    books = np.arange(len(usage))
    left.bar(books, perplexity, color=_BLUE, width=0.75)
    left.axhline(codes["num_codes"], color=_GREY, lw=1, ls="--")
    left.text(
        0.99, codes["num_codes"], f"all {codes['num_codes']} codes equally often ",
        transform=left.get_yaxis_transform(), ha="right", va="bottom", fontsize=8, color=_GREY,
    )  # fmt: skip
    left.set_ylim(0, codes["num_codes"] * 1.12)
    left.set_xlabel("codebook")
    left.set_ylabel("perplexity")
    if len(books) <= _MANY:
        left.set_xticks(books)
    ranks = np.arange(1, usage.shape[1] + 1)
    for row in order:
        right.plot(ranks, row, color=_BLUE, lw=0.8, alpha=0.35)
    right.plot(ranks, order.mean(0), color=_BLUE, lw=2.2, label="mean of codebooks")
    right.axhline(1 / usage.shape[1], color=_GREY, lw=1, ls="--", label="equal use")
    right.set_ylim(0)
    right.set_xlabel("codes of a codebook, most used first")
    right.set_ylabel("share of nodes")
    right.legend(fontsize=8, frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _edges(info: Info, edges: np.ndarray, without: np.ndarray) -> Figure:
    """The mean graph without an action, and what every action adds to and takes from it."""
    across, nodes = info.num_factors + 1, len(without)
    figure = Figure(figsize=(2.1 * across, 4.4))
    grid = figure.add_gridspec(2, across, wspace=0.22, hspace=0.3)
    change = edges - without
    limit = max(float(np.abs(change).max()), 1e-3)
    ticks = sorted({0, nodes // 2, nodes - 1})

    def draw(cell: Any, title: str, matrix: np.ndarray, **colours: Any) -> tuple[Axes, Any]:
        axes = figure.add_subplot(cell)
        picture = axes.imshow(matrix, interpolation="nearest", **colours)
        axes.set_title(title, fontsize=11)
        axes.set_xticks(ticks)
        axes.set_yticks(ticks)
        axes.tick_params(labelsize=8)
        return axes, picture

    first, present = draw(grid[0, 0], "no action", without, cmap="Blues", vmin=0, vmax=1)
    first.set_xlabel("from node", fontsize=9)
    first.set_ylabel("into node", fontsize=9)
    for action, name in enumerate(info.action_names):
        cell = grid[action // info.num_factors, 1 + action % info.num_factors]
        _, moved = draw(cell, _arrow(name), change[action], cmap="RdBu_r", vmin=-limit, vmax=limit)

    scales = figure.add_subplot(grid[1, 0])
    scales.set_axis_off()
    for height, picture, label in ((0.6, present, "probability"), (0.1, moved, "change by action")):
        place = scales.inset_axes((0.0, height, 1.0, 0.1))
        figure.colorbar(picture, cax=place, orientation="horizontal")
        place.set_title(label, fontsize=9)
        place.tick_params(labelsize=8)
    return figure


def _map_width(columns: int) -> float:
    return min(max(0.42 * columns, 5.0), 14.0) + 2.5


def _heat(axes: Axes, values: np.ndarray, rows: list[str], columns: str, label: str) -> None:
    picture = axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel(columns)
    if values.shape[1] <= _MANY:
        axes.set_xticks(range(values.shape[1]))
        for i, j in zip(*np.nonzero(values >= 0.05), strict=True):
            text = f"{values[i, j]:.1f}".replace("0.", ".")
            colour = "white" if values[i, j] > 0.55 else "#24292f"
            axes.text(j, i, text, ha="center", va="center", fontsize=8, color=colour)
    axes.figure.colorbar(picture, ax=axes, label=label)


def _arrow(action_name: str) -> str:
    """ "hue+1" as a label: "hue +1", with a true minus sign."""
    return f"{action_name[:-2]} {action_name[-2:]}".replace("-1", "\u22121")


# --- the page -----------------------------------------------------------------------------------

_CAPTIONS = {
    "reconstructions": (
        "Reconstructions",
        "Held-out images and what the decoder makes of their codes.",
    ),
    "interventions": (
        "Interventions",
        "Each row starts from one held-out image (orange frame); each column applies one action "
        "to its codes and decodes them. Exactly the named factor should move, by one step; "
        "where the factor predictor reads anything else, the frame is red.",
    ),
    "confusion": (
        "Action retrieval",
        "Which action lies between two held-out images? Rows are true actions and sum to one.",
    ),
    "masks": (
        "Nodes that each action hits",
        "Share of held-out images in which the action's mask contains the node.",
    ),
    "node_factor": (
        "What each node knows",
        "Mutual information of each node's code with each factor, as a share of the factor's "
        "entropy. A node that answers to one factor only has one dark cell.",
    ),
    "edges": (
        "Edges with and without an action",
        "Mean edge probabilities without an action (blue), then what each action adds (red) and "
        "takes away (blue). Row i holds the parents of node i.",
    ),
    "edge_strength": (
        "Edge strengths",
        "How strongly each factor (column) moves each other (row) in the flow: the root mean "
        "square of the derivatives of its mechanism. Frames mark the true graph; where there is no "
        "number there is no edge.",
    ),
    "codes": ("Code usage", "How many codes each codebook really uses on held-out images."),
    "losses": (
        "Training",
        "Means between two lines of the log; orange is validation, dotted lines part the stages.",
    ),
}

_SLIDER = (
    "Each row starts from one held-out image (orange frame); the columns set the factor to rising "
    "values, let its effects follow and decode."
)

_CSS = """
:root{color-scheme:light dark;--ink:#1f2328;--soft:#5d6570;--paper:#fbfbfa;--card:#fff;
--line:#e1e4e8}
@media(prefers-color-scheme:dark){:root{--ink:#e4e7eb;--soft:#9aa3ae;--paper:#17191c;--card:#1f2226;
--line:#353a41}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:2.5rem 1.25rem 4rem}
h1{font-size:1.8rem;margin:0}h2{font-size:1.25rem;margin:2.8rem 0 .3rem}
p{margin:.3rem 0 .9rem;color:var(--soft);max-width:46rem}
.numbers{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.6rem,1fr));gap:.8rem;
margin:1.6rem 0}
.number{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.8rem 1rem}
.number b{display:block;font-size:1.65rem;font-weight:650;font-variant-numeric:tabular-nums}
.number span,.number small{display:block;color:var(--soft);font-size:.84rem;line-height:1.35}
.number span{color:var(--ink)}
.picture{background:#fff;border:1px solid var(--line);border-radius:10px;padding:12px;
overflow-x:auto;margin:0}
.picture img{display:block;max-width:100%;margin:0 auto}
#confusion+p+figure img{max-width:min(100%,740px)}
.wide{overflow-x:auto;margin:1.4rem 0}
table{border-collapse:collapse;width:100%;font-size:.92rem;font-variant-numeric:tabular-nums}
th,td{padding:.38rem .7rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th{color:var(--soft);font-weight:600;white-space:normal;vertical-align:bottom}
th:first-child,td:first-child{text-align:left}
details{margin:.8rem 0;background:var(--card);border:1px solid var(--line);border-radius:10px;
padding:.6rem 1rem}summary{cursor:pointer}
pre{overflow:auto;max-height:30rem;font-size:.8rem;line-height:1.4}
"""


def _page(name: str, info: Info, config: Any, metrics: dict[str, Any], pictures: list[Path]) -> str:
    drawn = {path.stem: path for path in pictures}
    parts = [
        f"<h1>{_text(name)}</h1>",
        f"<p>{_text(config.method)} on {_text(info.name)}, step {metrics['step']}, seed "
        f"{config.seed}. All numbers are of held-out images (the test split) with deterministic "
        "evaluation; brackets are 95 % intervals of sampling error.</p>",
        _headline(metrics),
    ]
    captions = dict(_CAPTIONS)
    for factor in info.factor_names:
        captions[f"do_{factor}"] = (f"do({factor})", _SLIDER)
    for stem, (title, caption) in captions.items():
        if stem in drawn:
            source = base64.b64encode(drawn[stem].read_bytes()).decode()
            parts.append(
                f'<h2 id="{stem}">{title}</h2><p>{caption}</p><figure class="picture">'
                f'<img alt="{title}" src="data:image/png;base64,{source}"></figure>'
            )
        if stem == "confusion":
            parts.append(_tables(info, metrics))
    if "robustness" in metrics.get("downstream", {}):
        parts.append(_downstream(metrics["downstream"]))
    parts += [
        "<h2>All numbers and the config</h2>",
        f"<details><summary>metrics.json</summary><pre>{_text(_compact(metrics))}</pre></details>",
        f"<details><summary>config.json</summary><pre>{_text(to_json(config))}</pre></details>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_text(name)} · cdis</title><style>{_CSS}</style></head>\n"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _headline(metrics: dict[str, Any]) -> str:
    retrieval = metrics.get("action_retrieval")
    reconstruction = metrics.get("reconstruction")
    codes, graph = metrics.get("codes"), metrics.get("graph")
    interventions, timing = metrics.get("interventions"), metrics["timing"]
    cards: list[tuple[str, str, str]] = []
    if retrieval:
        for kind in ("directed", "undirected"):
            note = f"{_interval(retrieval, kind)}; chance {retrieval[f'chance_{kind}']:.2f}"
            cards.append((f"{retrieval[kind]:.3f}", f"action retrieval, {kind}", note))
    if factors := metrics.get("factors"):
        note = f"MCC {factors['mcc']:.4f}"
        cards.append((f"{factors['r2_worst']:.4f}", "R\u00b2 of the worst labelled latent", note))
    if "shd" in (structure := metrics.get("structure", {})):
        cards.append((f"{structure['shd']}", "SHD to the true graph", ""))
    if "elbo" in metrics:
        cards.append((f"{metrics['elbo']:,.0f}", "ELBO", "nats an image"))
    if interventions and "named_factor_moved" in interventions:
        for key, label in (
            ("named_factor_moved", "named factor moved one step"),
            ("other_factors_kept", "each other factor kept"),
            ("all_factors_right", "all factors right"),
        ):
            cards.append((f"{interventions[key]:.3f}", label, _interval(interventions, key)))
    if reconstruction:
        if "factor_accuracy" in reconstruction:
            note = f"on real images {reconstruction['factor_accuracy_real_images']:.3f}"
            value = f"{reconstruction['factor_accuracy']:.3f}"
            cards.append((value, "factors read right from reconstructions", note))
        value = f"{reconstruction['mse']:.6f}"
        cards.append((value, "reconstruction error", "mean square, pixels in [0, 1]"))
    if codes:
        note = f"perplexity {codes['perplexity']:.2f} of {codes['num_codes']}"
        cards.append((f"{codes['used']:.2f}", "codes in use", note))
    if graph:
        note = f"of {graph['num_nodes']}"
        cards.append((f"{graph['mask_nodes']:.1f}", "nodes that an action hits", note))
        if graph.get("node_specialisation") is not None:
            value = f"{graph['node_specialisation']:.2f}"
            cards.append((value, "node specialisation", "1: each node knows one factor only"))
    minutes, seconds = divmod(round(timing["train_seconds"]), 60)
    cards.append((f"{minutes}:{seconds:02}", "training time", "minutes, compilation included"))
    if "retrieval_pairs_per_second" in timing:
        value = f"{timing['retrieval_pairs_per_second']:,.0f}"
        cards.append((value, "pairs retrieved per second", ""))
    return (
        '<div class="numbers">'
        + "".join(
            f'<div class="number"><b>{value}</b><span>{label}</span><small>{note}</small></div>'
            for value, label, note in cards
        )
        + "</div>"
    )


def _tables(info: Info, metrics: dict[str, Any]) -> str:
    """Per action: retrieval, interventions, graph; per factor: what is read from images."""
    retrieval, graph = metrics.get("action_retrieval"), metrics.get("graph")
    interventions = metrics.get("interventions")
    reconstruction = metrics.get("reconstruction", {})
    columns: list[tuple[str, dict[str, Any], str]] = []
    if retrieval:
        columns += [
            ("pairs", retrieval["per_action_count"], "d"),
            ("retrieved, directed", retrieval["per_action"], ".3f"),
            ("undirected", retrieval["per_action_undirected"], ".3f"),
        ]
    if interventions and "per_action" in interventions:
        scores = interventions["per_action"]
        columns += [
            (title, {name: scores[name][key] for name in scores}, form)
            for title, key, form in (
                ("interventions", "count", "d"),
                ("named factor moved", "named_factor_moved", ".3f"),
                ("others kept", "other_factors_kept", ".3f"),
            )
        ]
    if graph:
        columns += [
            ("nodes hit", graph["mask_nodes_per_action"], ".1f"),
            ("edges that appear", graph["edges_that_appear"], ".1f"),
            ("vanish", graph["edges_that_vanish"], ".1f"),
        ]
        if "mask_on_own_factor" in graph:
            columns.append(("hits on own factor's nodes", graph["mask_on_own_factor"], ".2f"))
    text = ""
    if columns:
        text = _table("action", [(_arrow(name), name) for name in info.action_names], columns)
    columns = []
    if "factor_accuracy_per_factor" in reconstruction:
        columns += [
            ("read from real images", reconstruction["factor_accuracy_real_images_per_factor"],
             ".3f"),
            ("read from reconstructions", reconstruction["factor_accuracy_per_factor"], ".3f"),
        ]  # fmt: skip
    if interventions and "kept_per_factor" in interventions:
        kept = interventions["kept_per_factor"]
        columns.append(("kept when another is named", kept, ".3f"))
    if "factors" in metrics:
        columns.append(("R\u00b2 of its latent", metrics["factors"]["r2"], ".4f"))
    for cause in info.factor_names:
        if (scores := (interventions or {}).get(f"do_{cause}")) is not None:
            follow = {cause: scores["hit"]} | scores["propagation_per_factor"]
            for title, told in (
                (f"R\u00b2 under do({cause})", follow),
                ("drift", scores["drift_per_factor"]),
            ):
                columns.append((title, {n: told.get(n) for n in info.factor_names}, ".3f"))
    if columns:
        text += _table("factor", [(name, name) for name in info.factor_names], columns)
    return text


def _downstream(tasks: dict[str, Any]) -> str:
    """Accuracy of classifiers, with intervals over their repeats, for each label and part."""
    few = tasks["sample_efficiency"]["all"]["few"]
    rows: list[tuple[str, str]] = []
    cells: dict[str, dict[str, str]] = {}
    for label, measured in (("drawn", tasks), ("likelier", tasks["likelier_label"])):
        for part, efficiency in measured["sample_efficiency"].items():
            key = f"{label} {part}"
            rows.append((f"{part.replace('_', ' ')}, {label} label", key))
            robustness = measured["robustness"][part]
            for title, scores, name in (
                (f"accuracy, {few} labels", efficiency, "accuracy_few"),
                ("all labels", efficiency, "accuracy_all"),
                ("ratio", efficiency, "efficiency"),
                ("misled, all labels", robustness["all_labels"], "average"),
                ("worst group", robustness["all_labels"], "worst_group"),
                (f"misled, {few} labels", robustness["few_labels"], "average"),
                ("worst group ", robustness["few_labels"], "worst_group"),
            ):
                value = f"{scores[name]:.3f}<br>{_interval(scores, name)}"
                cells.setdefault(title, {})[key] = value
    return (
        "<h2>Downstream tasks</h2><p>Accuracy of a small classifier on the latents, and on the "
        "true factors, which is what can be hoped for: a drawn label cannot be told for sure. "
        "Misled: a tint of the image mostly agrees with the label in training (.8 of the images, "
        f"of {few} labels .9), and not in the test. Brackets are intervals over repeats.</p>"
        + _table("dimensions", rows, [(title, values, "") for title, values in cells.items()])
    )


def _table(
    first: str, rows: list[tuple[str, str]], columns: list[tuple[str, dict[str, Any], str]]
) -> str:
    head = "".join(f"<th>{title}</th>" for title in (first, *(title for title, _, _ in columns)))
    body = "".join(
        f"<tr><td>{_text(label)}</td>"
        + "".join(
            f"<td>{'–' if values[key] is None else format(values[key], form)}</td>"
            for _, values, form in columns
        )
        + "</tr>"
        for label, key in rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _interval(scores: dict[str, Any], name: str) -> str:
    low, high = scores[f"{name}_interval"]
    return f"[{low:.3f}, {high:.3f}]"


def _compact(value: Any, indent: str = "") -> str:
    """JSON with lists of numbers on one line."""
    if isinstance(value, dict):
        inner = indent + "  "
        items = (
            f"{inner}{json.dumps(key)}: {_compact(item, inner)}" for key, item in value.items()
        )
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if isinstance(value, list):
        return "[" + ", ".join(_compact(item, indent) for item in value) + "]"
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value)


def _text(text: Any) -> str:
    return html.escape(str(text))
