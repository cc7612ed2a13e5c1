# SPDX-License-Identifier: Apache-2.0
"""Tables to the terminal and, word for word, into a file."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lidistill.io import atomic_write, write_json
from lidistill.provenance import commit

WIDTH = 110  # of the file's table


def number(value: float, digits: int = 2) -> str:
    """A score, or a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def plain(value: Any) -> Any:
    """JSON's idea of nested numbers: NaN becomes null, arrays and tuples lists."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def show(parts: Sequence[Table | str], out: Path | None, record: Mapping[str, Any]) -> None:
    """Print tables and sentences; write them, and the record, where a folder is named.

    Args:
        parts: in order.
        out: folder of ``table.txt`` and ``scores.json``, or None.
        record: the numbers; the commit is added.
    """
    screen = Console()
    if not screen.is_terminal:
        screen = Console(width=WIDTH)
    for part in parts:
        screen.print(part, markup=False)
    if out is None:
        return
    text = io.StringIO()
    page = Console(file=text, width=WIDTH, force_terminal=False)
    for part in parts:
        page.print(part, markup=False)
    with atomic_write(out / "table.txt") as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
    write_json(out / "scores.json", plain({**record, "lidistill": commit()}))
    screen.print(f"written: {out}", markup=False)
