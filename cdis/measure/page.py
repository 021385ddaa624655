"""The page: one HTML file with headlines, tables, figures and all numbers. It fetches nothing."""

import base64
import html
import json
import struct
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from cdis.config import to_json
from cdis.data.info import Info
from cdis.measure.base import Column, Headline, Metrics, Picture, Table, Tables, reasons
from cdis.measure.figures import DPI, action_label

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
.number{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.8rem 1rem;
overflow-wrap:anywhere}
.number b{display:block;font-size:1.65rem;font-weight:650;font-variant-numeric:tabular-nums}
.number span,.number small{display:block;color:var(--soft);font-size:.84rem;line-height:1.35}
.number span{color:var(--ink)}
.picture{background:#fff;border:1px solid var(--line);border-radius:10px;padding:12px;
overflow-x:auto;margin:0}
.picture img{display:block;max-width:100%;margin:0 auto}
.wide{overflow-x:auto;margin:1.4rem 0}
table{border-collapse:collapse;width:100%;font-size:.92rem;font-variant-numeric:tabular-nums}
th,td{padding:.38rem .7rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th{color:var(--soft);font-weight:600;white-space:normal;vertical-align:bottom}
th:first-child,td:first-child{text-align:left}
details{margin:.8rem 0;background:var(--card);border:1px solid var(--line);border-radius:10px;
padding:.6rem 1rem}summary{cursor:pointer}
pre{overflow:auto;max-height:30rem;font-size:.8rem;line-height:1.4}
"""
_CSS_DPI = 96  # an inch in CSS has so many pixels


def html_page(
    name: str,
    info: Info,
    config: ConfigDict,
    metrics: Metrics,
    *,
    headlines: Sequence[Headline],
    tables: Sequence[Tables],
    pictures: Sequence[tuple[Picture, bytes]],
) -> str:
    """The page of one run.

    Args:
      name: of the run, its title.
      info: the data set.
      config: of the run.
      metrics: all numbers.
      headlines: numbers to show first.
      tables: the columns and tables of each measurement.
      pictures: figures with their PNG files.
    """
    of_images = "the test split"
    if unseen := metrics.get("unseen"):
        of_images += f", unseen combinations of {' and '.join(unseen)}"
    if metrics.get("labels_at_evaluation"):
        of_images += "; the method is given their labels"
    parts = [
        f"<h1>{_escape(name)}</h1>",
        f"<p>{_escape(config.method)} on {_escape(info.name)}, step {metrics['step']}, seed "
        f"{config.seed}. Unless noted otherwise, numbers are for held-out images ("
        f"{_escape(of_images)}) and deterministic; brackets are 95 % intervals of the sampling "
        "error.</p>",
        _cards(headlines),
        *(
            f"<p>Not measured: {_escape(section)}. {_escape(reason)}</p>"
            for section, reason in reasons(metrics).items()
        ),
        *(_picture(picture, png) for picture, png in pictures),
        *(_table(table) for table in _all_tables(info, tables)),
        "<h2>All numbers and the config</h2>",
        _details("metrics.json", _compact(metrics)),
        _details("config.json", to_json(config)),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_escape(name)} · cdis</title><style>{_CSS}</style></head>\n"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _all_tables(info: Info, tables: Sequence[Tables]) -> list[Table]:
    """The columns of all measurements, joined by action and by factor; then whole tables."""
    by_action = tuple(column for part in tables for column in part.by_action)
    by_factor = tuple(column for part in tables for column in part.by_factor)
    joined = []
    if by_action:
        joined.append(Table("By action", "", "action", info.action_names, by_action))
    if by_factor:
        joined.append(Table("By factor", "", "factor", info.factor_names, by_factor))
    return [*joined, *(table for part in tables for table in part.whole)]


def _cards(headlines: Sequence[Headline]) -> str:
    cards = (
        f'<div class="number"><b>{_escape(line.value)}</b><span>{_escape(line.label)}</span>'
        f"<small>{_escape(line.note)}</small></div>"
        for line in headlines
    )
    return f'<div class="numbers">{"".join(cards)}</div>'


def _picture(picture: Picture, png: bytes) -> str:
    """A figure at the size in inches that it was made for, or narrower if the page is."""
    (pixels,) = struct.unpack(">I", png[16:20])  # the width, in the header of a PNG
    source = base64.b64encode(png).decode()
    title = _escape(picture.title)
    return (
        f'<h2 id="{_escape(picture.name)}">{title}</h2><p>{_escape(picture.caption)}</p>'
        f'<figure class="picture"><img alt="{title}" width="{round(pixels * _CSS_DPI / DPI)}" '
        f'src="data:image/png;base64,{source}"></figure>'
    )


def _table(table: Table) -> str:
    head = "".join(
        f"<th>{_escape(title)}</th>"
        for title in (table.corner, *(column.title for column in table.columns))
    )
    body = "".join(
        f"<tr><td>{_escape(action_label(row) if table.corner == 'action' else row)}</td>"
        + "".join(f"<td>{_cell(column, row)}</td>" for column in table.columns)
        + "</tr>"
        for row in table.rows
    )
    caption = f"<p>{_escape(table.caption)}</p>" if table.caption else ""
    return (
        f"<h2>{_escape(table.title)}</h2>{caption}"
        f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'
    )


def _cell(column: Column, row: str) -> str:
    value = column.values.get(row)
    text = "–" if value is None else format(value, column.form)
    return _escape(text).replace("\n", "<br>")


def _details(name: str, text: str) -> str:
    return f"<details><summary>{name}</summary><pre>{_escape(text)}</pre></details>"


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


def _escape(text: Any) -> str:
    return html.escape(str(text))
