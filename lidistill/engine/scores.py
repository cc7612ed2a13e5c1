# SPDX-License-Identifier: Apache-2.0
"""What a test found, as tables for a reader and as JSON for a program."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from lidistill.hooks.run_folder import note_written
from lidistill.io import write_json

KITTI = re.compile(r"((?P<metric>\w+)_(?P<recalls>R\d+)|objects)_(?P<level>easy|moderate|hard)")
SHOWN_RECALLS = "R40"


def tables(scores: Mapping[str, Any]) -> list[Table]:
    """KITTI's scores, a line a difficulty; others one a line, grouped by what precedes the last /.

    Args:
        scores: name -> number, as mmengine's evaluator returns them.
    """
    kitti: dict[tuple[str, str], dict[str, Any]] = {}
    plain: dict[str, dict[str, Any]] = {}
    for key, value in scores.items():
        group, slash, name = key.rpartition("/")
        match = KITTI.fullmatch(name) if slash else None
        if match is None:
            plain.setdefault(group, {})[name] = value
        elif match["recalls"] in (SHOWN_RECALLS, None):
            line = group.rpartition("/")[2], match["level"]  # kitti/Car: Car
            kitti.setdefault(line, {})[match["metric"] or "objects"] = value
    found = [_kitti_table(kitti)] if kitti else []
    return found + [_plain_table(group, values) for group, values in plain.items()]


def write_scores(
    scores: Mapping[str, Any], work_dir: Path, checkpoint: str, config: str | Path
) -> Path:
    """All numbers as ``<checkpoint>.test.json`` in the work directory; the file."""
    path = work_dir / f"{Path(checkpoint).stem}.test.json"
    note_written(work_dir, path.name)
    plain = {
        name: value.item() if hasattr(value, "item") else value for name, value in scores.items()
    }
    write_json(path, {"config": str(config), "checkpoint": checkpoint, "scores": plain})
    return path


def _kitti_table(lines: Mapping[tuple[str, str], Mapping[str, Any]]) -> Table:
    metrics = dict.fromkeys(name for line in lines.values() for name in line)
    columns = sorted(metrics, key=lambda name: name != "objects")
    table = Table(title=f"AP in percent, {SHOWN_RECALLS} (others: in the JSON file)")
    for name in ("class", "difficulty", *columns):
        table.add_column(name, justify="right" if name in columns else "left", no_wrap=True)
    for (kind, level), line in lines.items():
        table.add_row(kind, level, *(_number(line.get(name, "-")) for name in columns))
    return table


def _plain_table(group: str, values: Mapping[str, Any]) -> Table:
    table = Table("score", title=group or None)
    table.add_column("value", justify="right")
    for name, value in values.items():
        table.add_row(name, _number(value))
    return table


def _plain(value: Any) -> Any:
    """A number of numpy or torch as Python's."""
    return value.item() if hasattr(value, "item") else value


def _number(value: Any) -> str:
    value = _plain(value)
    if value is None:
        return "-"
    if not isinstance(value, int | float):
        return str(value)
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.4g}"
