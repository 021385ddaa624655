"""The page: one HTML file with the numbers, the pictures and what they show."""

import base64
import json
from pathlib import Path
from typing import Any

from cdis.config import to_json
from cdis.data.info import Info
from cdis.report.tables import downstream, escape, interval, tables

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


def html_page(
    name: str, info: Info, config: Any, metrics: dict[str, Any], pictures: list[Path]
) -> str:
    drawn = {path.stem: path for path in pictures}
    parts = [
        f"<h1>{escape(name)}</h1>",
        f"<p>{escape(config.method)} on {escape(info.name)}, step {metrics['step']}, seed "
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
            parts.append(tables(info, metrics))
    if "robustness" in metrics.get("downstream", {}):
        parts.append(downstream(metrics["downstream"]))
    parts += [
        "<h2>All numbers and the config</h2>",
        f"<details><summary>metrics.json</summary><pre>{escape(_compact(metrics))}</pre></details>",
        f"<details><summary>config.json</summary><pre>{escape(to_json(config))}</pre></details>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(name)} · cdis</title><style>{_CSS}</style></head>\n"
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
            note = f"{interval(retrieval, kind)}; chance {retrieval[f'chance_{kind}']:.2f}"
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
            cards.append((f"{interventions[key]:.3f}", label, interval(interventions, key)))
    if reconstruction:
        if "factor_accuracy" in reconstruction:
            note = f"on real images {reconstruction['factor_accuracy_real_images']:.3f}"
            value = f"{reconstruction['factor_accuracy']:.3f}"
            cards.append((value, "factors read right from reconstructions", note))
        value = f"{reconstruction['mse']:.5f}"
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
