# SPDX-License-Identifier: Apache-2.0
"""Evidence: what a method was worth, as a record on disk and as Markdown for the docs pages.

The record is :mod:`lidistill.evaluation.evidence_record`, the driver that fills it
:mod:`lidistill.evaluation.evidence_run`.
"""

from __future__ import annotations

import math
from pathlib import Path

from lidistill.evaluation.evidence_record import (
    Evidence,
    EvidenceRow,
    load_evidence,
    save_evidence,
    summarise,
)

__all__ = ["Evidence", "EvidenceRow", "load_evidence", "save_evidence", "summarise", "to_markdown"]


def to_markdown(path: Path | str) -> str:
    """Render a record as tables: the rows with their paired differences, the classes, the origin.

    Args:
        path: ``docs/evidence/<method>.json``.

    Returns:
        Markdown (GitHub and MyST tables), ending with a newline.
    """
    evidence = load_evidence(Path(path))
    parts = [f"**{evidence.dataset}**", _rows_table(evidence)]
    notes = [f"- {row.name}: {row.note}" for row in evidence.rows if row.note]
    if notes:
        parts.append("\n".join(notes))
    parts += [table for table in (_cost_table(evidence), _class_table(evidence)) if table]
    if evidence.protocol:
        parts.append(f"Protocol: {evidence.protocol}.")
    parts.append(
        f"Commit `{evidence.commit}`; {evidence.hardware}; made by `{evidence.command}`. Spread is "
        "the sample standard deviation over seeds; differences are paired by seed."
    )
    return "\n\n".join(parts) + "\n"


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
            mean = _with_spread(summary.difference, summary.difference_spread, "+")
            difference = f"{mean} to {row.twin} ({each})"
        cells = [
            _escape(name),
            _with_spread(summary.mean, summary.spread),
            ", ".join(f"{value:.3f}" for value in row.values),
            _escape(difference),
            ", ".join(map(str, row.seeds)),
            f"{row.n:,}",
            duration(row.wall_s),
        ]
        lines.append(f"| {' | '.join(cells)} |")
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


def _class_table(evidence: Evidence) -> str:
    rows = [row for row in evidence.rows if row.per_class]
    if not rows:
        return ""
    classes = list(dict.fromkeys(name for row in rows for name in row.per_class))
    lines = [
        f"| class | {' | '.join(_escape(row.name) for row in rows)} |",
        f"| --- | {' | '.join('---:' for _ in rows)} |",
    ]
    for name in classes:
        lines.append(f"| {_escape(name)} | {' | '.join(_class_mean(row, name) for row in rows)} |")
    return "\n".join(lines)


def _class_mean(row: EvidenceRow, name: str) -> str:
    values = [value for value in row.per_class.get(name, []) if value is not None]
    return f"{sum(values) / len(values):.3f}" if values else "-"


def _with_spread(mean: float, spread: float, sign: str = "") -> str:
    text = f"{mean:{sign}.3f}"
    return text if math.isnan(spread) else f"{text} ± {spread:.3f}"


def duration(seconds: float) -> str:
    """Seconds in the unit a reader thinks in: ``48 s``, ``12 min``, ``3.4 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
