# SPDX-License-Identifier: Apache-2.0
"""A two-layer student, a teacher and a method: the smallest Distiller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lidistill.distill.distiller import Distiller
from lidistill.distill.teacher import Teacher


@dataclass
class ToyBatch:
    rows: torch.Tensor

    def to(self, device: torch.device) -> ToyBatch:
        return ToyBatch(self.rows.to(device))


class ToyNet(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.first = nn.Linear(3, width)
        self.norm = nn.BatchNorm1d(width)
        self.last = nn.Linear(width, 2)
        self.calls = 0

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        hidden = self.norm(self.first(rows))
        self.calls += 1
        return self.last(torch.relu(hidden))


class ToyMethod(Distiller):
    """Mean squared difference of the first layers, through a connector."""

    def __init__(self, dead: bool = False, weights: dict | None = None, **teacher: Any) -> None:
        super().__init__(
            student=ToyNet(4),
            student_taps={"hidden": "first", "out": ""},
            student_inputs=("rows",),
            teachers={"big": Teacher(ToyNet(6), {"hidden": "first"}, inputs=("rows",), **teacher)},
            connectors={"widen": nn.Linear(4, 6)},
            weights=weights,
        )
        self.dead = dead

    def distill_losses(self, student: Any, teachers: dict, batch: ToyBatch) -> dict:
        self.observe("rows_used", len(batch.rows))
        hidden = self.connectors["widen"](student.hidden.features)
        rows = torch.randperm(len(hidden))[: len(hidden) // 2 + 1]  # a draw inside the loss
        gap = hidden[rows] - teachers["big"].hidden.features[rows]
        terms = {"mse": gap.square().mean()}
        if self.dead:
            constant = self.connectors["widen"](student.hidden.features.detach())
            terms["dead"] = constant.square().mean()
        return terms


def toy_batch(rows: int = 8) -> ToyBatch:
    return ToyBatch(torch.randn(rows, 3, generator=torch.Generator().manual_seed(0)))


class SelfTaught(Distiller):
    """The student and a teacher of its kind, compared before and behind their norms."""

    def __init__(self, width: int = 4, **teacher: Any) -> None:
        teacher = {"taps": {"hidden": "first", "out": ""}, "inputs": ("rows",), **teacher}
        super().__init__(
            student=ToyNet(4),
            student_taps={"hidden": "first", "out": ""},
            student_inputs=("rows",),
            teachers={"mean": Teacher(ToyNet(width), **teacher)},
        )

    def distill_losses(self, student: Any, teachers: dict, batch: ToyBatch) -> dict:
        mean = teachers["mean"]
        return {
            "hidden": (student.hidden.features - mean.hidden.features).square().mean(),
            "out": (student.out.features - mean.out.features).square().mean(),
        }
