# SPDX-License-Identifier: Apache-2.0
"""The table of Pythons, torches and numpys from the record of `tools/matrix.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SIGNS = {"passed": "passed", "failed": "**failed**", "no wheel": "no wheel", "not tried": "-"}


def page(record: Mapping[str, Any]) -> str:
    """A row for each Python and torch of which anything is known; then the reasons for the rest."""
    rows = {(row["python"], row["torch"], row["numpy"]): row for row in record["rows"]}
    pairs = list(dict.fromkeys((python, torch) for python, torch, _ in rows))
    lines = ["| Python | torch | numpy 1 | numpy 2 |", "| --- | --- | --- | --- |"]
    for python, torch in pairs:
        cells = [rows.get((python, torch, numpy)) for numpy in ("1", "2")]
        if any(row is not None and row["outcome"] in ("passed", "failed") for row in cells):
            lines.append(f"| {python} | {torch} | {cell(cells[0])} | {cell(cells[1])} |")
    if len(lines) == 2:
        lines = ["No combination was tried yet."]
    parts = ["\n".join(lines), *reasons(record)]
    commits = sorted({row["commit"] for row in record["rows"] if row["outcome"] == "passed"})
    parts.append(
        f"Passed: `lidistill doctor`, a training step of two configs, and the quick tests of "
        f"{', '.join(f'`{name}`' for name in record['tests'])}. {record['hardware']}; "
        f"commits {', '.join(f'`{name}`' for name in commits) or 'none'}."
    )
    return "\n\n".join(parts) + "\n"


def cell(row: Mapping[str, Any] | None) -> str:
    """One outcome in few words: which numpy, how many tests, or the first error."""
    if row is None:
        return "-"
    if row["outcome"] == "passed":
        return f"{row['versions'].get('numpy', '')}: {row['detail']}"
    if row["outcome"] == "failed":
        return f"{SIGNS['failed']}: {row['detail']}".replace("|", "\\|")
    return SIGNS[row["outcome"]]


def reasons(record: Mapping[str, Any]) -> list[str]:
    """Why the other combinations have no result, each reason once."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for row in record["rows"]:
        if row["outcome"] in ("no wheel", "not tried"):
            places = grouped.setdefault((row["outcome"], row["detail"]), [])
            places.append(f"{row['python']} with torch {row['torch']}, numpy {row['numpy']}")
    if not grouped:
        return []
    lines = [
        f"- {outcome}: {detail} ({len(places)} combination{'s' if len(places) > 1 else ''})"
        for (outcome, detail), places in grouped.items()
    ]
    return ["Combinations without a result:\n\n" + "\n".join(lines)]
