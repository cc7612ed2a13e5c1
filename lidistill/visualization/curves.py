# SPDX-License-Identifier: Apache-2.0
"""Training curves as mmengine logs them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lidistill.io import DataError, read_text

MAX_STEP = 2**53


@dataclass
class Curve:
    """One line of a chart.

    Attributes:
        chart: title of the chart it belongs to; curves of one chart share its axes.
        name: of the line.
        x: rising.
        y: one an x.
        x_label: of the axis, with its unit.
    """

    chart: str
    name: str
    x: list[float]
    y: list[float]
    x_label: str = "iteration"

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ValueError(f"curve {self.name!r}: {len(self.x)} x but {len(self.y)} y")


def read_scalars(work_dir: Path) -> dict[str, tuple[list[float], list[float]]]:
    """All scalars of a run, over every start of it.

    Reads ``<time>/vis_data/scalars.json`` (one JSON object a line) below ``work_dir``. A run that
    was killed and resumed has several; where steps overlap the later start counts. A last line cut
    off by a kill is passed over; any other line must be whole.

    Args:
        work_dir: of mmengine's runner.

    Returns:
        name -> (steps, values), steps rising.

    Raises:
        DataError: no such file, or a damaged one; names file and line.
    """
    files = sorted(work_dir.glob("*/vis_data/scalars.json"))
    if not files:
        raise DataError(
            "no training log found: expected <time>/vis_data/scalars.json below it",
            path=work_dir,
            fix="give the work_dir of a training run (tools/train.py CONFIG --work-dir DIR)",
        )
    merged: dict[str, dict[float, float]] = {}
    for file in files:
        fresh: dict[str, dict[float, float]] = {}
        lines = read_text(file).split("\n")
        for number, line in enumerate(lines, start=1):
            for name, step, value in _scalars(line, number, file, last=number == len(lines)):
                fresh.setdefault(name, {})[step] = value
        for name, points in fresh.items():
            kept = {s: v for s, v in merged.get(name, {}).items() if s < min(points)}
            merged[name] = {**kept, **points}
    return {name: (sorted(p), [p[s] for s in sorted(p)]) for name, p in merged.items()}


def _scalars(line: str, number: int, path: Path, last: bool) -> Iterator[tuple[str, float, float]]:
    """Name, step and value of one line; a line end stands behind every line but a cut one."""
    if not line.strip():
        return
    try:
        entry = json.loads(line)
        if not isinstance(entry, dict):
            raise ValueError(f"a {type(entry).__name__}")
        step = entry.get("step")
        if step is not None and not (_scalar(step) and abs(step) < MAX_STEP):
            raise ValueError(f"no step: {step!r:.40}")
    except (ValueError, RecursionError) as error:
        if last:
            return
        raise DataError(
            f"Line {number}: expected numbers of one step, {{'loss': 0.5, 'step': 3}}: {error!r}.",
            path=path,
            fix="take this line out of the log, or train again.",
        ) from error
    if step is None:
        return
    for name, value in entry.items():
        if name not in ("step", "iter", "epoch") and _scalar(value):
            yield name, float(step), float(value)


def _scalar(value: object) -> bool:
    """A number that a chart can place; NaN is a gap."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)


def smooth(values: Sequence[float], half: int) -> list[float]:
    """Centred moving average: it does not lag behind, and shrinks evenly towards both ends.

    Args:
        values: in order; non-finite ones are passed over and stay as they are.
        half: values taken on each side, fewer near the ends.

    Returns:
        As many values.
    """
    out = []
    for here, value in enumerate(values):
        reach = min(half, here, len(values) - 1 - here)
        near = [v for v in values[here - reach : here + reach + 1] if math.isfinite(v)]
        out.append(sum(near) / len(near) if math.isfinite(value) else value)
    return out
