# SPDX-License-Identifier: Apache-2.0
"""MonoTAKD: a camera learns what true depth would give it, and apart what only a LiDAR sees.

Liu et al., "MonoTAKD: Teaching Assistant Knowledge Distillation for Monocular 3D Object
Detection", CVPR 2025, https://arxiv.org/abs/2404.04910. Without an assistant it is Hong et al.,
"Cross-Modality Knowledge Distillation Network for Monocular 3D Object Detection" (CMKD), ECCV 2022,
https://arxiv.org/abs/2203.15839.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from lidistill.distill.detectors.heads import branch_taps, check_heads
from lidistill.distill.detectors.method import TapPair, detector_pair
from lidistill.distill.detectors.places import point_range
from lidistill.distill.distiller import Distiller
from lidistill.distill.schedules import Schedule
from lidistill.distill.taps import Tap
from lidistill.losses.monocular.anchor_response import anchor_weights, soft_boxes, soft_focal
from lidistill.losses.monocular.bev_residual import key_residual, min_max, residual, squared_gap
from lidistill.registry import MODELS

Compat = Literal["paper", "released"]
WEIGHTS = {  # the paper's sum; what the release multiplies with; CMKD's, without an assistant
    "paper": dict(intra=1.0, cross=1.0, response=1.0),
    "released": dict(intra=1.0, cross=0.2, response=2.0),
    "cmkd": dict(cross=32.0, response=2.0),
}


@MODELS.register_module()
class MonoTAKD(Distiller):
    """Intra-modal, cross-modal residual and response distillation in bird's-eye view.

    Args:
        student: BEV detector of cameras with CenterPoint's head, or config of one; with an
            assistant it has ``camera=dict(branches=dict(type=TwoBranches, ...))``.
        teachers: ``"teacher"``, of LiDAR, and ``"assistant"``, the student's architecture with true
            depth, each ``dict(model=..., checkpoint=...)``, see :class:`lidistill.distill.Teacher`.
            No assistant is CMKD: the student's map learns from the teacher's directly.
        vis: the student's map that learns from the assistant; without one, from the teacher.
        spa: the student's map that learns the residual; not tapped without an assistant.
        teacher_taps: ``"teacher"`` and ``"assistant"`` -> map before the BEV network in each.
        compat: ``"released"`` computes as the release does: maps stretched to 0..1 and cut off
            from the gradient, a residual without sign of which the largest part is kept, a class
            term that grows with the batch. Its intra-modal term teaches nothing, and the audit
            stops a training with it: it is for comparison.
        weights: of ``intra``, ``cross``, ``response``; :data:`WEIGHTS` by default.

    Differs from the authors' release: the assistant is a trained network of its own and stands
    still; each term has a gradient; the residual keeps its sign; the head sees both branches;
    depth is measured nowhere but in training; the head is CenterPoint's, cells in place of anchors.
    """

    def __init__(
        self,
        student: nn.Module | dict,
        teachers: Mapping[str, dict],
        vis: str | Tap = "camera_branches.vis",
        spa: str | Tap = "camera_branches.spa",
        teacher_taps: Mapping[str, str | Tap] | None = None,
        compat: Compat = "paper",
        weights: Mapping[str, float | Schedule] | None = None,
    ) -> None:
        if compat not in get_args(Compat):
            raise ValueError(f"compat: expected one of {get_args(Compat)}, got {compat!r}")
        if set(teachers) not in ({"teacher"}, {"teacher", "assistant"}):
            raise ValueError(
                "teachers: expected 'teacher' and 'assistant', or 'teacher' alone (CMKD), got "
                f"{sorted(teachers)}"
            )
        student = MODELS.build(student) if isinstance(student, dict) else student
        taps: dict[str, TapPair] = {
            n: (t, "teacher", None) for n, t in branch_taps(student).items()
        }
        for name in teachers:
            taps[f"{name}_bev"] = None, name, (teacher_taps or {}).get(name, "bev_low")
        pair = detector_pair(student, teachers, taps)
        assisted = "assistant" in teachers
        pair["student_taps"] |= {"vis": vis, "spa": spa} if assisted else {"vis": vis}
        if weights is None:
            weights = WEIGHTS[compat if assisted else "cmkd"]
        super().__init__(**pair, weights=weights)
        check_heads(self.student, self.teachers["teacher"].model, "MonoTAKD")
        self.same_classes = frozenset(["teacher"])
        self.branches = _by_task(list(branch_taps(self.student)))
        self.compat = compat
        for name, each in self.teachers.items():
            _check_ranges(self.student, each.model, name)

    def distill_losses(
        self, student: Any, teachers: dict[str, Any], batch: Any
    ) -> dict[str, Tensor]:
        """L_IMD, L_CMRD, L_logit: from the assistant, what it lacks, what the teacher answers."""
        del batch  # no labels are needed
        f_vis, f_t = student.vis.features, teachers["teacher"].teacher_bev.features
        response = self.response(student, teachers["teacher"])
        if "assistant" not in teachers:  # CMKD
            return {"cross": squared_gap(f_vis, f_t), "response": response}
        f_a, f_spa = teachers["assistant"].assistant_bev.features, student.spa.features
        released = self.compat == "released"
        if released:
            f_a, f_vis = min_max(f_a), min_max(f_vis).detach()

        # intra-modal distillation: the same sensor, and what depth adds to it (L_IMD)
        intra = squared_gap(f_vis, f_a)

        # cross-modal residual distillation: what the LiDAR has and the assistant has not (L_CMRD)
        f_res = key_residual(f_t, f_a) if released else residual(f_t, f_a)
        cross = squared_gap(f_spa, f_res)
        return {"intra": intra, "cross": cross, "response": response}

    def response(self, student: Any, teacher: Any) -> Tensor:
        """Classes and boxes of all cells, as soft labels of the teacher (L_logit)."""
        total = []
        for heat, regressed in self.branches:
            logits, target = (_cells(side, [heat]) for side in (student, teacher))
            classes = soft_focal(logits, target)
            if self.compat == "paper":
                classes = classes / max(len(logits), 1)
            boxes, wanted = (_cells(side, regressed) for side in (student, teacher))
            total += [classes, soft_boxes(boxes, wanted, anchor_weights(target), heading=None)]
        return torch.stack(total).sum()


def _by_task(names: list[str]) -> list[tuple[str, list[str]]]:
    """Of each task the heatmap's tap and those of what is regressed."""
    tasks: dict[str, list[str]] = {}
    for name in names:
        tasks.setdefault(name.partition("_")[0], []).append(name)
    return [
        (f"{task}_heatmap", [name for name in found if name != f"{task}_heatmap"])
        for task, found in tasks.items()
    ]


def _cells(outputs: Any, names: list[str]) -> Tensor:
    """(B, Y * X, channels) of maps side by side."""
    maps = torch.cat([getattr(outputs, name).features for name in names], 1)
    return maps.flatten(2).transpose(1, 2)


def _check_ranges(student: nn.Module, other: nn.Module, name: str) -> None:
    own, theirs = point_range(student), point_range(other)
    if own is not None and theirs is not None and own != theirs:
        raise ValueError(
            f"MonoTAKD compares maps cell by cell, but the student covers {own} and the {name} "
            f"{theirs} metres; give both one point_range and one voxel_size"
        )
