# SPDX-License-Identifier: Apache-2.0
"""The audit: does every loss term teach the student, and nothing else?

It is run on the first batch of a training (see :mod:`lidistill.hooks.audit`) and leaves no trace:
buffers and random state are put back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from lidistill.distill.distiller import Distiller
from lidistill.distill.trace import gradients_of_parts, without_trace


class AuditError(ValueError):
    """A term without gradient into the student, an idle connector, a teacher that could change."""


class EmptyTermError(AuditError):
    """A term whose value is exactly zero: a batch may hold nothing for it, or it is broken."""


@dataclass
class AuditReport:
    """What the audit saw.

    Attributes:
        values: term -> its unweighted value.
        gradient_norms: term -> group (``"student"``, ``"connectors.<name>"``) -> L2 norm.
        shares: term -> its share of the summed gradient norms into the student.
        features: ``"student.<tap>"`` / ``"<teacher>.<tap>"`` -> (mean, standard deviation).
        shapes: the same -> shape of the tapped tensor.
        cells: the same -> cells of a map (y, x) or of sparse voxels (z, y, x).
        coverage: what the method observed about its regions, e.g. regions kept.
    """

    values: dict[str, float] = field(default_factory=dict)
    gradient_norms: dict[str, dict[str, float]] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    features: dict[str, tuple[float, float]] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    cells: dict[str, tuple[int, ...]] = field(default_factory=dict)
    coverage: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = ["audit of the first batch"]
        for term, groups in self.gradient_norms.items():
            norms = ", ".join(f"{group} {norm:.3g}" for group, norm in groups.items())
            lines.append(
                f"  {term}: value {self.values[term]:.4g}, share {self.shares[term]:.0%}, "
                f"gradient norm: {norms}"
            )
        for name, (mean, deviation) in self.features.items():
            lines.append(f"  {name}: mean {mean:.3g}, standard deviation {deviation:.3g}")
        for name, value in self.coverage.items():
            lines.append(f"  {name}: {value:.4g}")
        return "\n".join(lines)


def audit(distiller: Distiller, batch: Any) -> AuditReport:
    """Audit one raw batch (already on the model's device).

    Raises:
        AuditError: a term gives the student no gradient (a term of value 0 may, beside a teacher
            that follows the student: at first the two are one; else it is
            :class:`EmptyTermError`); no term reaches a connector; or a teacher has gradients
            enabled, is in train mode, or is inside the checkpoint.
    """
    check_teachers(distiller)
    groups = {"student": list(distiller.student.parameters())}
    for name, connector in distiller.connectors.items():
        groups[f"connectors.{name}"] = list(connector.parameters())
    groups = {
        name: trainable
        for name, parameters in groups.items()
        if (trainable := [p for p in parameters if p.requires_grad])
    }
    report = AuditReport()
    with without_trace(distiller), gradients_of_parts():
        result = distiller.forward_terms(batch)
        report.coverage = dict(distiller.observations)
        for term, value in result.terms.items():
            report.values[term] = float(value.detach())
            report.gradient_norms[term] = {
                group: _gradient_norm(value, parameters) for group, parameters in groups.items()
            }
    for name, tensor, cells in _tapped(result):
        report.shapes[name] = tuple(tensor.shape)
        if cells:
            report.cells[name] = cells
        values = tensor.detach().float()
        if values.numel() > 1:
            report.features[name] = (float(values.mean()), float(values.std()))
    total = sum(norms["student"] for norms in report.gradient_norms.values())
    for term, norms in report.gradient_norms.items():
        report.shares[term] = norms["student"] / total if total else 0.0
    follows = any(teacher.follows_student for teacher in distiller.teachers.values())
    for term, norms in report.gradient_norms.items():
        if norms["student"] == 0.0 and not (follows and report.values[term] == 0.0):
            kind = AuditError if report.values[term] else EmptyTermError
            raise kind(
                f"term {term!r} gives the student no gradient on the first batch (value "
                f"{report.values[term]:.4g}); it would train nothing. Check its taps and weights\n"
                f"{report}"
            )
    idle = [
        group
        for group in groups
        if group != "student" and not any(n[group] for n in report.gradient_norms.values())
    ]
    if idle and all(report.values.values()):
        raise AuditError(
            f"{', '.join(idle)}: no term has a gradient there, so nothing passes through it; name "
            f"connectors as {type(distiller).__name__} reads them, or leave it out\n{report}"
        )
    return report


def check_teachers(distiller: Distiller) -> None:
    """Refuse a teacher that could learn, change, or be saved.

    Raises:
        AuditError: naming the teacher and what is wrong.
    """
    own = {id(parameter) for parameter in distiller.parameters()}
    for name, teacher in distiller.teachers.items():
        if any(parameter.requires_grad for parameter in teacher.model.parameters()):
            raise AuditError(f"teacher {name!r} has parameters with gradient; call its freeze()")
        if any(module.training for module in teacher.model.modules()):
            raise AuditError(f"teacher {name!r} is in train mode; call its freeze()")
        if any(id(parameter) in own for parameter in teacher.model.parameters()):
            raise AuditError(
                f"teacher {name!r} is part of the Distiller's module tree and would be saved and "
                "optimized; hand it over in `teachers`"
            )


def _gradient_norm(value: torch.Tensor, parameters: Sequence[torch.Tensor]) -> float:
    if not value.requires_grad:
        return 0.0
    gradients = torch.autograd.grad(value, list(parameters), retain_graph=True, allow_unused=True)
    squares = [float(g.detach().double().square().sum()) for g in gradients if g is not None]
    return sum(squares) ** 0.5


def _tapped(result: Any) -> Iterator[tuple[str, torch.Tensor, tuple[int, ...]]]:
    for side, outputs in {"student": result.student, **result.teachers}.items():
        for tap in dataclasses.fields(outputs):
            output = getattr(outputs, tap.name)
            features = getattr(output, "features", output)
            if isinstance(features, torch.Tensor):
                cells = getattr(output, "spatial_shape", features.shape[2:])
                yield f"{side}.{tap.name}", features, tuple(int(size) for size in cells)
