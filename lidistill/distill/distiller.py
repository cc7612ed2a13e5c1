# SPDX-License-Identifier: Apache-2.0
"""Distiller: one student, named frozen teachers, connectors between them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor, BaseModel
from torch import nn

from lidistill.distill.calls import call_model
from lidistill.distill.schedules import Schedule, as_schedule
from lidistill.distill.taps import Tap, TapSet
from lidistill.distill.teacher import Teacher
from lidistill.distill.unlabelled import labelled_rows, own_loss_on, with_empty_labels
from lidistill.ops.precision import full_precision_of
from lidistill.registry import MODELS


class RawBatch(BaseDataPreprocessor):
    """Hands the batch on untouched, but for its device: each model preprocesses for itself."""

    def forward(self, data: Any, training: bool = False) -> Any:
        """Move tensors, and objects with a ``to`` method, to the model's device."""
        if isinstance(data, Mapping):
            return {key: self.forward(value) for key, value in data.items()}
        if isinstance(data, list | tuple) and not hasattr(data, "_fields"):
            return type(data)(self.forward(value) for value in data)
        return data.to(self.device) if hasattr(data, "to") else data


@dataclass
class ForwardTerms:
    """Everything one forward pass yields, before weighting.

    Attributes:
        student_losses: the student's own losses (empty for self-supervised students).
        terms: the method's distillation terms, unweighted scalars.
        student: tapped student outputs.
        teachers: tapped outputs of each teacher.
    """

    student_losses: dict[str, Any]
    terms: dict[str, torch.Tensor]
    student: Any
    teachers: dict[str, Any] = field(default_factory=dict)


class Distiller(BaseModel):
    """Owns a student and named teachers; a method adds ``distill_losses``.

    ``loss`` is the student's own loss plus the method's weighted terms. ``predict``, ``val_step``
    and ``test_step`` go straight to the student, so inference costs nothing extra.

    Args:
        student: module, or config of one.
        student_taps: name -> module path inside the student.
        student_inputs: batch fields for a plain module; None for an mmengine model (any mmdet3d
            detector), which runs its own data preprocessor and its own loss.
        teachers: name -> :class:`Teacher`, or its arguments as a dictionary.
        connectors: name -> trainable adapter; in training checkpoints, dropped at export.
        weights: term -> number or :class:`Schedule`; 1 where not named.
    """

    student: nn.Module
    connectors: nn.ModuleDict
    same_classes: frozenset[str] = frozenset()  # teachers whose labels or logits are compared

    def __init__(
        self,
        student: nn.Module | dict,
        student_taps: Mapping[str, str | Tap],
        teachers: Mapping[str, Teacher | dict],
        student_inputs: Sequence[str] | None = None,
        connectors: Mapping[str, nn.Module | dict] | None = None,
        weights: Mapping[str, float | Schedule] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=RawBatch())
        self.student = _build(student)
        self.student_inputs = student_inputs
        self.student_taps = TapSet(self.student, student_taps)
        self.connectors = nn.ModuleDict(
            {name: _build(connector) for name, connector in (connectors or {}).items()}
        )
        # Objects that are no modules: outside state_dict, DDP, EMA and the optimizer.
        self.teachers: dict[str, Teacher] = {
            name: Teacher(**teacher) if isinstance(teacher, dict) else teacher
            for name, teacher in teachers.items()
        }
        self.schedules = {name: as_schedule(weight) for name, weight in (weights or {}).items()}
        self.progress = 0.0
        self.observations: dict[str, float] = {}
        self.watched: dict[str, tuple[torch.Tensor, torch.Tensor]] | None = None

    # -- what a method writes ---------------------------------------------------------------------
    @abstractmethod
    def distill_losses(
        self, student: Any, teachers: dict[str, Any], batch: Any
    ) -> dict[str, torch.Tensor]:
        """The method's terms, unweighted; explicit code that reads like the paper's section.

        Args:
            student: tapped student outputs, one field per tap.
            teachers: the same for each teacher.
            batch: the raw batch on the device.
        """

    def student_batch(self, batch: Any, _teachers: dict[str, Any]) -> Any:
        """What the student is trained on: the batch, unless a method changes its labels."""
        return batch

    def teacher_batch(self, _name: str, batch: Any) -> Any:
        """What a teacher sees: the batch, unless a method shows it more than the student."""
        return batch

    def observe(self, name: str, value: float) -> None:
        """Log a number beside the losses and in the audit (regions kept, pairs used, ...)."""
        self.observations[name] = float(value)

    def watch(self, student: torch.Tensor, teacher: torch.Tensor, suffix: str = "") -> None:
        """Leave matched embeddings to a monitor, if one has asked (``watched`` is a dictionary).

        Args:
            student: (R, D) embeddings, row i of one thing.
            teacher: (R, D) embeddings of the same things.
            suffix: of the teacher's loss terms.
        """
        if self.watched is not None:
            self.watched[suffix] = (student.detach(), teacher.detach())

    # -- mmengine's interface ---------------------------------------------------------------------
    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        """``"loss"``: all losses; ``"predict"`` and ``"tensor"``: what the student gives."""
        batch = inputs if data_samples is None else {"inputs": inputs, "data_samples": data_samples}
        if mode != "loss":
            return call_model(self.student, batch, self.student_inputs, mode, training=False)
        return self.weigh(self.forward_terms(batch))

    def forward_terms(self, batch: Any) -> ForwardTerms:
        """Student, teachers and the method's terms on one raw batch.

        On frames without labels the student's own loss rests (:mod:`lidistill.distill.unlabelled`).
        Under autocast the student alone is half; what is tapped comes as float32, and connectors
        and losses compute in it. A teacher has a type of its own.
        """
        teachers = {
            name: teacher(self.teacher_batch(name, batch))
            for name, teacher in self.teachers.items()
        }
        seen = self.student_batch(batch, teachers)
        labelled = labelled_rows(seen)
        if not all(labelled) or "labelled_frames" in self.observations:
            self.observe("labelled_frames", sum(labelled))
        with (
            self.student_taps.capture(self.student) as student,
            own_loss_on(self.student, labelled),
        ):
            seen = with_empty_labels(seen)
            output = call_model(self.student, seen, self.student_inputs, "loss", training=True)
        device = next(self.parameters(), torch.zeros(0)).device
        with torch.autocast(device.type, enabled=False):
            student, teachers = full_precision_of((student, teachers))
            terms = self.distill_losses(student, teachers, batch)
        return ForwardTerms(output if self.student_inputs is None else {}, terms, student, teachers)

    def weigh(self, result: ForwardTerms) -> dict[str, Any]:
        """Every term before (``raw_``) and after weighting (``loss_``, which alone is summed).

        Raises:
            ValueError: weights of terms that there are not, or a term with the name of one of the
                student's own losses, which it would replace.
        """
        added: dict[str, Any] = {}
        for name, value in result.terms.items():
            weight = self.schedules[name](self.progress) if name in self.schedules else 1.0
            added[f"loss_{name}"] = weight * value
            added[f"raw_{name}"] = value.detach()
        for name, number in self.observations.items():
            added[name] = torch.tensor(number)
        unknown = self.schedules.keys() - result.terms.keys()
        if unknown:
            raise ValueError(
                f"weights name the terms {sorted(unknown)}, which {type(self).__name__} does not "
                f"have; its terms are {sorted(result.terms)}"
            )
        taken = sorted(added.keys() & result.student_losses.keys())
        if taken:
            raise ValueError(
                f"{', '.join(taken)} of {type(self).__name__} would replace what the student logs "
                f"under this name; give the term another one: {type(self.student).__name__} has "
                f"{sorted(result.student_losses)}"
            )
        return {**result.student_losses, **added}

    def parse_losses(self, losses: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        """mmengine's sum of what has ``loss`` in its name, without what is only logged."""
        terms = [name.removeprefix("loss_") for name in losses if name.startswith("loss_")]
        logged = {*self.observations, *(f"raw_{term}" for term in terms)}
        total, logs = super().parse_losses({n: v for n, v in losses.items() if n not in logged})
        return total, {n: losses[n] if n in logged else logs[n] for n in ("loss", *losses)}

    def val_step(self, data: Any) -> Any:
        """Straight to the student."""
        batch = self.data_preprocessor(data, False)
        if self.student_inputs is None:
            return self.student.val_step(batch)  # type: ignore[operator]
        return self(**batch, mode="predict")

    test_step = val_step

    # -- teachers follow the Distiller, and only in this ------------------------------------------
    def _apply(self, fn: Callable, recurse: bool = True) -> Distiller:
        super()._apply(fn, recurse)
        for teacher in self.teachers.values():
            teacher.apply_to_tensors(fn)
        return self

    def _set_device(self, device: torch.device) -> None:
        super()._set_device(device)
        for teacher in self.teachers.values():
            if isinstance(teacher.model, BaseModel):
                teacher.model._set_device(device)


def _build(module: nn.Module | dict) -> nn.Module:
    return MODELS.build(module) if isinstance(module, dict) else module
