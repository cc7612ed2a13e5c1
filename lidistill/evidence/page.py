# SPDX-License-Identifier: Apache-2.0
"""A record as Markdown for the docs pages: verdicts, curve, tables, origin."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lidistill.evaluation.results import duration, summarise, with_spread
from lidistill.evidence.curves import best_of, curve_names, points_of, verdicts
from lidistill.evidence.record import Evidence, EvidenceRow, load_evidence

PROCESS = "with_stages_s"
"""The cost that a curve is drawn over: seconds of processor time, every stage included."""


def to_markdown(path: Path | str, chart: bool = False) -> str:
    """Render a record as tables: the rows with their paired differences, the classes, the origin.

    Args:
        path: ``docs/evidence/<method>.json``.
        chart: draw the curves, as SVG inside of the text.

    Returns:
        Markdown (GitHub and MyST tables), ending with a newline.
    """
    evidence = load_evidence(Path(path))
    parts = [f"**{evidence.dataset}**"]
    if evidence.kind == "choice":
        parts.append("A choice of settings, made on a world of another seed; not a result.")
    sentences = verdicts(evidence)
    if sentences:
        parts.append("\n".join(f"- {sentence}" for sentence in sentences))
    if chart and curve_names(evidence.rows):
        parts.append(draw_curves(evidence))
    parts.append(_rows_table(evidence))
    notes = [f"- {row.name}: {row.note}" for row in evidence.rows if row.note]
    if notes:
        parts.append("\n".join(notes))
    tables = (
        _further_table(evidence),
        _cost_table(evidence),
        _part_table(evidence, "class", lambda row: row.per_class),
        _part_table(evidence, "objects", lambda row: row.per_group),
    )
    parts += [table for table in tables if table]
    if evidence.protocol:
        parts.append(f"Protocol: {evidence.protocol}.")
    parts.append(_origin(evidence))
    return "\n\n".join(parts) + "\n"


def draw_curves(evidence: Evidence) -> str:
    """Metric over processor time: the twin's curve and the methods', spread over seeds as bands."""
    from lidistill.visualization.curve_chart import Band, curve_chart

    bands = []
    for name in curve_names(evidence.rows):
        points = [row for row in points_of(evidence.rows, name) if row.cost.get(PROCESS)]
        found = [summarise(row, ()) for row in points]
        bands.append(
            Band(
                name,
                [row.cost[PROCESS] for row in points],
                [summary.mean for summary in found],
                [summary.spread for summary in found],
            )
        )
    words = "seconds of processor time, every stage included (log)"
    return curve_chart(bands, words, evidence.rows[0].metric, lowest=0.0)  # AP, NDS, mIoU


def _origin(evidence: Evidence) -> str:
    text = (
        f"Commit `{evidence.commit}`; {evidence.hardware}; made by `{evidence.command}`. Spread is "
        "the sample standard deviation over seeds; differences are paired by seed."
    )
    if evidence.choices:
        text += f" Settings rest on the records {', '.join(evidence.choices)}."
    return text


def _rows_table(evidence: Evidence) -> str:
    metrics = {row.metric for row in evidence.rows}
    head = metrics.pop() if len(metrics) == 1 else "value"
    lines = [
        f"| run | {head} | each seed | difference to its twin | seeds | n | time |",
        "| --- | ---: | --- | --- | --- | ---: | ---: |",
    ]
    for row in evidence.rows:
        summary = summarise(row, evidence.rows)
        name = row.name if head != "value" else f"{row.name} ({row.metric})"
        difference = "-"
        if summary.differences:
            each = ", ".join(f"{value:+.3f}" for value in summary.differences)
            mean = with_spread(summary.difference, summary.difference_spread, "+")
            difference = f"{mean} to {row.twin} ({each})"
        cells = [
            _escape(name),
            with_spread(summary.mean, summary.spread),
            ", ".join(f"{value:.3f}" for value in row.values),
            _escape(difference),
            ", ".join(map(str, row.seeds)),
            f"{row.n:,}",
            duration(row.wall_s),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _further_table(evidence: Evidence) -> str:
    """What the evaluation of each row says besides its metric."""
    rows = [row for row in evidence.rows if row.further]
    if not rows:
        return ""
    names = list(dict.fromkeys(name for row in rows for name in row.further))
    lines = [f"| run | {' | '.join(names)} |", f"| --- | {' | '.join('---:' for _ in names)} |"]
    for row in rows:
        cells = [_mean_and_spread(row.further.get(name, [])) for name in names]
        lines.append(f"| {_escape(row.name)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cost_table(evidence: Evidence) -> str:
    rows = [row for row in evidence.rows if row.cost]
    if not rows:
        return ""
    names = list(dict.fromkeys(name for row in rows for name in row.cost))
    heads = " | ".join(name.replace("_", " ") for name in names)
    lines = [f"| cost | {heads} |", f"| --- | {' | '.join('---:' for _ in names)} |"]
    for row in rows:
        cells = [_amount(row.cost[name]) if name in row.cost else "-" for name in names]
        lines.append(f"| {_escape(row.name)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


Parts = Callable[[EvidenceRow], Mapping[str, Sequence[float | None]]]
"""Values of a row by class, or by group of objects."""


def _part_table(evidence: Evidence, head: str, parts: Parts) -> str:
    """Of every row by itself, and of the best point of each curve.

    Runs stand side by side, or one below another where there are more of them than parts.
    """
    best = [best_of(points_of(evidence.rows, name)) for name in curve_names(evidence.rows)]
    shown = [row for row in evidence.rows if not row.curve or row in best]
    rows = [row for row in shown if parts(row)]
    names = list(dict.fromkeys(name for row in rows for name in parts(row)))
    if all(parts(row) == {name: row.values} for row in rows for name in names):
        return ""  # nothing, or the metric again under its only class
    cells = [[_mean_of(parts(row).get(name, [])) for row in rows] for name in names]
    across, down = [row.name for row in rows], names
    if len(rows) > len(names):
        head, across, down = "run", names, across
        cells = [list(column) for column in zip(*cells, strict=True)]
    lines = [
        f"| {head} | {' | '.join(map(_escape, across))} |",
        f"| --- | {' | '.join('---:' for _ in across)} |",
    ]
    lines += [
        f"| {_escape(name)} | {' | '.join(line)} |" for name, line in zip(down, cells, strict=True)
    ]
    return "\n".join(lines)


def _mean_and_spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    spread = statistics.stdev(known) if len(known) > 1 else math.nan
    return with_spread(statistics.fmean(known), spread) if known else "-"


def _mean_of(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.3f}" if known else "-"


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
