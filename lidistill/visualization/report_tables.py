# SPDX-License-Identifier: Apache-2.0
"""The report's numbers as HTML: the verdict, the bars, the table of runs, the table of classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from lidistill.evaluation.results import ResultRow, duration, summarise
from lidistill.visualization.report_data import ReportData


def verdict(data: ReportData) -> str:
    """One sentence of plain text: the method against its twin, with as much doubt as is due."""
    row = next((row for row in data.rows if row.name == data.method), None)
    twin = next((other for other in data.rows if row and other.name == row.twin), None)
    if row is None or twin is None:
        return ""
    summary = summarise(row, data.rows)
    ours, theirs = summary.mean, summarise(twin, data.rows).mean
    gain = f"{row.name} reaches {ours:.3f} {data.metric}, {twin.name} {theirs:.3f}"
    number = len(summary.differences)
    if number == 0:
        return f"{gain}: no seed in common, so without a paired difference."
    if number < 2:
        return f"{gain}: {summary.difference:+.3f} (one seed, so without a spread)."
    spread = f"{summary.difference:+.3f} ± {summary.difference_spread:.3f} over {number} seeds"
    if summary.beyond_spread:
        return f"{gain}: {spread}."
    return f"{gain}: {spread}, no clear difference."


def bars(rows: Sequence[ResultRow], method: str) -> str:
    """One bar a run: its mean, and a dot for each seed where there are several."""
    known = (value for row in rows for value in row.values if math.isfinite(value))
    top = max(known, default=0.0)
    scale = 100 / max(top * 1.12, 1e-9)
    lines = []
    for row in rows:
        mean = summarise(row, rows).mean
        seeds = [v for v in row.values if math.isfinite(v)] if len(row.values) > 1 else []
        length = mean * scale if math.isfinite(mean) else 0.0
        dots = "".join(f'<i style="left:{value * scale:.2f}%"></i>' for value in seeds)
        chosen = " chosen" if row.name == method else ""
        lines.append(
            f'<div class="bar{chosen}"><span class="name">{escape(row.name)}</span>'
            f'<span class="track"><b style="width:{length:.2f}%"></b>{dots}</span>'
            f'<span class="value">{mean:.3f}</span></div>'
        )
    return f'<div class="bars">{"".join(lines)}</div>'


def runs_table(rows: Sequence[ResultRow], method: str, metric: str) -> str:
    """Every run: mean and spread, each seed, paired difference to its twin, n, time."""
    head = _row(
        "th",
        ["run", escape(metric), "each seed", "difference to its twin", "seeds", "n", "time"],
        "col",
    )
    body = []
    for row in rows:
        summary = summarise(row, rows)
        difference = "&ndash;"
        if summary.differences:
            mean = _plus_minus(summary.difference, summary.difference_spread, "+")
            difference = f'{mean} <span class="quiet">to {escape(row.twin or "")}</span>'
        note = f'<small class="quiet">{escape(row.note)}</small>' if row.note else ""
        cells = [
            f"<strong>{escape(row.name)}</strong>{note}",
            _plus_minus(summary.mean, summary.spread),
            " ".join(f"{value:.3f}" for value in row.values),
            difference,
            ", ".join(map(str, row.seeds)),
            f"{row.n:,}",
            duration(row.wall_s),
        ]
        style = ' class="chosen"' if row.name == method else ""
        body.append(_row("td", cells, style=style))
    return _table(head, body, "runs")


def classes_table(data: ReportData) -> str:
    """Mean over seeds of each class's value, one column a run; the best of a class in bold."""
    rows = [row for row in data.rows if row.per_class]
    if not rows:
        return ""
    classes = list(dict.fromkeys(name for row in rows for name in row.per_class))
    head = _row("th", ["class", *(escape(row.name) for row in rows)], "col")
    body = []
    for name in classes:
        values = [_mean(row.per_class.get(name, [])) for row in rows]
        best = max((v for v in values if not math.isnan(v)), default=math.nan)
        cells = [_chip(data, name) + escape(name.replace("_", " "))]
        cells += [_class_cell(value, value == best and value > 0) for value in values]
        body.append(_row("td", cells))
    return _table(head, body, "classes")


def _class_cell(value: float, best: bool) -> str:
    if math.isnan(value):
        return '<span class="quiet">&ndash;</span>'
    text = f"<strong>{value:.3f}</strong>" if best else f"{value:.3f}"
    return f'<span class="meter"><b style="width:{100 * value:.1f}%"></b></span>{text}'


def _chip(data: ReportData, name: str) -> str:
    colour = data.class_colours.get(name)
    return f'<i class="chip" style="background:rgb{tuple(colour)}"></i>' if colour else ""


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else math.nan


def _plus_minus(mean: float, spread: float, sign: str = "") -> str:
    text = f"{mean:{sign}.3f}"
    return text if math.isnan(spread) else f'{text} <span class="quiet">± {spread:.3f}</span>'


def _row(tag: str, cells: Sequence[str], scope: str = "", style: str = "") -> str:
    attribute = f' scope="{scope}"' if scope else ""
    return f"<tr{style}>{''.join(f'<{tag}{attribute}>{cell}</{tag}>' for cell in cells)}</tr>"


def _table(head: str, body: Sequence[str], style: str) -> str:
    return (
        f'<div class="scroll"><table class="{style}"><thead>{head}</thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )
