# SPDX-License-Identifier: Apache-2.0
"""A row of results: values of one thing, one a seed, and what a reader computes of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class ResultRow:
    """One line of a table of results.

    Attributes:
        name: what was run.
        twin: name of the row without distillation that it is compared with, seed by seed; None
            for that row itself.
        metric: what the values are, with its unit or range.
        values: one a seed.
        seeds: in the order of ``values``.
        n: validation frames or ground-truth objects behind each value; the fewest, where seeds are
            of different data.
        config: file the run came from, or the settings in words.
        wall_s: seconds of all seeds together, those of every training that the values needed.
        per_class: class name -> values, one a seed; None where the class was not scored.
        note: what a reader must know, for instance that this is a negative control.
        cost: what was spent, or what the trained model costs: name with unit -> mean over seeds.
        per_group: part of the objects -> mean over classes, one a seed; None where it is empty.
    """

    name: str
    twin: str | None
    metric: str
    values: list[float]
    seeds: list[int]
    n: int
    config: str
    wall_s: float
    per_class: dict[str, list[float | None]] = field(default_factory=dict)
    note: str = ""
    cost: dict[str, float] = field(default_factory=dict)
    per_group: dict[str, list[float | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """What a reader computes of one row.

    Attributes:
        mean: of the values.
        spread: their sample standard deviation; NaN for a single seed.
        differences: value minus the twin's value of the same seed, for the seeds both have.
        difference: mean of these; NaN without a twin.
        difference_spread: their sample standard deviation; NaN for fewer than two.
    """

    mean: float
    spread: float
    differences: tuple[float, ...]
    difference: float
    difference_spread: float

    @property
    def beyond_spread(self) -> bool:
        """All paired differences have one sign, and their mean exceeds their spread."""
        signs = {math.copysign(1, value) for value in self.differences if value}
        one_sign = len(self.differences) > 1 and len(signs) == 1 and 0 not in self.differences
        return one_sign and abs(self.difference) > self.difference_spread


def summarise(row: ResultRow, rows: Sequence[ResultRow]) -> Summary:
    """Mean, spread, and differences to the twin paired by seed."""
    return compared(row, next((other for other in rows if other.name == row.twin), None))


def compared(row: ResultRow, twin: ResultRow | None) -> Summary:
    """Mean, spread, and differences to any other row, paired by seed."""
    differences: tuple[float, ...] = ()
    if twin is not None:
        theirs = dict(zip(twin.seeds, twin.values, strict=True))
        ours = zip(row.seeds, row.values, strict=True)
        differences = tuple(value - theirs[seed] for seed, value in ours if seed in theirs)
    return Summary(
        mean=_mean(row.values),
        spread=_spread(row.values),
        differences=differences,
        difference=_mean(differences),
        difference_spread=_spread(differences),
    )


def duration(seconds: float) -> str:
    """Seconds in the unit a reader thinks in: ``48 s``, ``12 min``, ``3.4 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def with_spread(mean: float, spread: float, sign: str = "") -> str:
    """``0.550 ± 0.050``; without the spread where a single seed has none."""
    text = f"{mean:{sign}.3f}"
    return text if math.isnan(spread) else f"{text} ± {spread:.3f}"


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else math.nan


def _spread(values: Sequence[float]) -> float:
    known = len(values) > 1 and all(map(math.isfinite, values))  # a score may be NaN: none counted
    return statistics.stdev(values) if known else math.nan
