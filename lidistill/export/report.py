# SPDX-License-Identifier: Apache-2.0
"""Tensors on their way from one file to another, and the report of what became of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

MMDET3D_NEEDS = (
    "mmdet3d itself imports with compiled mmcv alone; without, call lidistill.compat.apply() first"
)
TAKEN, RESHAPED, MADE, LEFT = "taken", "reshaped", "made", "left"
KINDS = (TAKEN, RESHAPED, MADE, LEFT)


@dataclass(frozen=True)
class Part:
    """One tensor with its past.

    Attributes:
        tensor: as it is now.
        source: its name in the file that was read; None where it was made.
        original: as it was in that file.
        note: what was done to it, or why it was made or left.
    """

    tensor: Tensor
    source: str | None = None
    original: Tensor | None = None
    note: str = ""

    def become(self, tensor: Tensor, note: str) -> Part:
        """The same part with other contents; unchanged where ``tensor`` is what it held."""
        if tensor is self.tensor:
            return self
        return replace(self, tensor=tensor, note="; ".join(filter(None, (self.note, note))))


Parts = dict[str, Part]
"""Parts by the name they have now."""


def parts_of(table: Mapping[str, Tensor], place: str = "") -> Parts:
    """Tensors of a file's table as parts whose source is ``place.name``."""
    before = f"{place}." if place else ""
    return {name: Part(tensor, before + name, tensor) for name, tensor in table.items()}


@dataclass
class Report:
    """Every tensor of one conversion.

    Attributes:
        title: what was converted into what.
        parts: what is written, by its name there.
        left: what was read and not used, each with its reason.
        remarks: what a user has to know to use the result, one sentence each.
    """

    title: str
    parts: Parts
    left: list[Part] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """How many tensors were taken, reshaped, made, left."""
        counts = dict.fromkeys(KINDS, 0)
        for part in self.parts.values():
            counts[_how(part)] += 1
        counts[LEFT] = len(self.left)
        return counts

    def summary(self) -> str:
        """The counts in words."""
        return ", ".join(f"{count} {kind}" for kind, count in self.counts().items())

    def text(self) -> str:
        """The whole report: title, every tensor, counts, remarks."""
        lines = [_line(_how(part), part, name) for name, part in self.parts.items()]
        lines += [_line(LEFT, part, None) for part in self.left]
        return "\n".join([self.title, "", *lines, "", self.summary(), *self.remarks]) + "\n"


def _how(part: Part) -> str:
    if part.original is None:
        return MADE
    return TAKEN if part.tensor is part.original else RESHAPED


def _line(how: str, part: Part, target: str | None) -> str:
    names = " -> ".join(name for name in (part.source, target) if name)
    shapes = [list(part.tensor.shape)]
    if part.original is not None and part.original.shape != part.tensor.shape:
        shapes.insert(0, list(part.original.shape))
    note = f"  ({part.note})" if part.note else ""
    return f"{how:<8}  {names}  {' -> '.join(map(str, shapes))}{note}"


def some(names: list[str], count: int = 8) -> str:
    """The first names of a list, for messages."""
    return (", ".join(names[:count]) or "none") + (" ..." if len(names) > count else "")
