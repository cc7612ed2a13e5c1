# SPDX-License-Identifier: Apache-2.0
"""What an evidence table consists of before it is run: rows, curves, seeds."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Outcome = float | Mapping[str, Any]
"""A value, or ``{"value": float, "n": int, "per_class": {name: float | None},
"per_group": {name: float | None}, "further": {name: float | None}, "protocol": str,
"cost": {name: float}, "wall_s": float, "commit": str, "data": str}``.

Only ``value`` is required. ``wall_s`` is what the result needed, stages of earlier calls included;
without it the call's own time counts. ``commit`` is of the code that
trained it, where that may be an earlier one; ``data`` what :attr:`Row.data` says of the seed.
"""


@dataclass(frozen=True)
class Row:
    """One line to run.

    Attributes:
        name: of the line.
        run: from a seed to its outcome; must be deterministic in the seed, and rows of one seed
            must share initial weights and data order, or the differences are not paired.
        twin: name of the row or curve without distillation, None for that row itself.
        config: file or settings in words; a cached outcome of other settings is not reused.
        note: for the reader of the table.
        config_hash: of everything it is trained with; a cached outcome of another is not reused.
        curve: that it is a point of.
        steps: of that point.
        data: from a seed to a hash of the data it reads, empty where they are not here; a cached
            outcome of others is not reused.
    """

    name: str
    run: Callable[[int], Outcome]
    twin: str | None = None
    config: str = ""
    note: str = ""
    config_hash: str = ""
    curve: str = ""
    steps: float = 0.0
    data: Callable[[int], str] | None = None


@dataclass(frozen=True)
class Curve:
    """The same line at 1x, 2x, 4x, ... the steps, each with its own whole schedule.

    Attributes:
        name: of the curve.
        at: from a factor of steps to its row.
        factors: rising; the last is the cap. The curve ends sooner where a doubling adds less than
            the spread.
        twin: curve without distillation, None for that curve itself.
    """

    name: str
    at: Callable[[float], Row]
    factors: Sequence[float] = (1, 2, 4, 8)
    twin: str | None = None

    def point(self, factor: float) -> Row:
        """The row of one point."""
        made, name = self.at(factor), point_name(self.name, factor)
        return dataclasses.replace(made, name=name, curve=self.name, steps=factor)


@dataclass(frozen=True)
class EvidencePlan:
    """A table to fill: what to run, on what, how often.

    Attributes:
        method: names the record and the cache folder.
        dataset: in words, see :class:`~lidistill.evidence.record.Evidence`.
        metric: what the values are.
        rows: and curves, in the order of the table; within a seed they run in this order.
        seeds: at least three for a number that is to be shown.
        protocol: in words; an outcome's own ``protocol`` takes its place.
        teacher: row that must be ahead of the plateau of the curve without a twin; otherwise the
            rows with a twin are not run, and the record says why.
        kind: ``evidence`` or ``choice``.
        choices: records that its settings rest on.
    """

    method: str
    dataset: str
    metric: str
    rows: Sequence[Row | Curve]
    seeds: Sequence[int] = (0, 1, 2)
    protocol: str = ""
    teacher: str | None = None
    kind: str = "evidence"
    choices: Sequence[str] = ()

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        slugs = [slug(name) for name in names]
        if len(set(slugs)) < len(slugs):
            raise ValueError(f"row names must differ in letters and digits, got {names}")
        if not self.rows or not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"expected rows and distinct seeds, got {names} and {self.seeds}")
        unknown = {row.twin for row in self.rows} - {*names, None}
        if unknown:
            raise ValueError(f"twins {sorted(map(str, unknown))} are not among the rows {names}")
        if self.teacher is not None and (self.teacher not in names or not self.baseline):
            raise ValueError(
                f"expected the teacher {self.teacher!r} among the rows, and a curve without a twin "
                f"that it must be ahead of; got {names}"
            )
        for curve in self.curves:
            factors = list(curve.factors)
            if not factors or factors != sorted(set(factors)) or factors[0] <= 0:
                raise ValueError(f"curve {curve.name!r}: expected rising factors, got {factors}")

    @property
    def curves(self) -> list[Curve]:
        """Those rows that are curves."""
        return [row for row in self.rows if isinstance(row, Curve)]

    @property
    def baseline(self) -> str:
        """Name of the curve without a twin; empty where there is none."""
        return next((curve.name for curve in self.curves if curve.twin is None), "")


def with_seeds(plan: EvidencePlan, seeds: Sequence[int] | None) -> EvidencePlan:
    """The same plan with other seeds; unchanged for None."""
    return plan if seeds is None else dataclasses.replace(plan, seeds=tuple(seeds))


def point_name(curve: str, factor: float) -> str:
    """What the row of a curve's point is called."""
    return curve if factor == 1 else f"{curve}, {factor:g}x steps"


def slug(name: str) -> str:
    """A folder name: letters and digits of ``name``, joined by underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
