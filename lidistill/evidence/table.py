# SPDX-License-Identifier: Apache-2.0
"""A table as it is declared: lines of config, changes, steps and twin; nothing runs here.

Values of ``changes`` may name other things::

    "row://teacher"      the final checkpoint of the line ``teacher``, trained with the same seed
    "row://student, 4x steps"    that of a point of the curve ``student``
    "config://zoo.pkd"   what stands under that key of the line's own config
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lidistill.evidence.plan import point_name
from lidistill.evidence.worlds import World

ROW, CONFIG = "row://", "config://"
STAGE = ""
"""Score of a line that is trained for others and is no row of its own."""
DOUBLINGS = (1, 2, 4, 8, 16)
"""Factors of a curve; the last is its cap."""


@dataclass(frozen=True)
class Line:
    """One line of a table.

    Attributes:
        name: of the row.
        config: file of what is trained.
        changes: dotted key -> value that takes its place.
        twin: name of the line without distillation, None for that line itself.
        steps: as a factor of the table's iterations, or of the config's own; 0 trains nothing and
            scores the random start.
        curve: factors of its points where the line is a curve; empty for one row.
        iters: iterations of this line at 1x, in place of the table's.
        score: how it is scored, in place of the table's; :data:`STAGE` for a stage.
        note: for the reader.
    """

    name: str
    config: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    twin: str | None = None
    steps: float = 1.0
    curve: Sequence[float] = ()
    iters: int | None = None
    score: str | None = None
    note: str = ""

    def at(self, factor: float) -> Line:
        """The same line with other steps."""
        return dataclasses.replace(self, steps=factor, curve=())


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        method: names the record.
        world: it is measured on.
        metric: what the values are.
        lines: in the order of the table.
        score: of :data:`lidistill.evidence.scores.SCORES`.
        iters: iterations of every line at 1x that says nothing else; None for the configs' own.
        classes: whose mean is the value; empty for what the metric averages itself.
        teacher: line that must be ahead of the student's plateau.
        choices: records that its settings rest on.
        kind: ``evidence`` or ``choice``; a choice is made on the world kept for choices.
        seeds: at least three for a number that is to be shown.
        protocol: in words; a score has words of its own.
    """

    method: str
    world: World
    metric: str
    lines: Sequence[Line]
    score: str
    iters: int | None = None
    classes: Sequence[str] = ()
    teacher: str | None = None
    choices: Sequence[str] = ()
    kind: str = "evidence"
    seeds: Sequence[int] = (0, 1, 2)
    protocol: str = ""

    def __post_init__(self) -> None:
        if self.kind == "choice":
            object.__setattr__(self, "world", self.world.for_choices())

    def line(self, name: str) -> Line:
        """A line by its name; a point of a curve by that of its row.

        Raises:
            ValueError: there is none; lists those there are.
        """
        for line in self.lines:
            if line.name == name:
                return line
            for factor in line.curve:
                if point_name(line.name, factor) == name:
                    return line.at(factor)
        names = [line.name for line in self.lines]
        raise ValueError(f"table {self.method!r} has no line {name!r}; it has {names}")

    def tuning(self) -> Table:
        """The same on the world kept for choices: to find sizes and settings, not to report."""
        return dataclasses.replace(self, method=f"{self.method}_tuning", kind="choice")
