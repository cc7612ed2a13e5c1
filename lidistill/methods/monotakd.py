# SPDX-License-Identifier: Apache-2.0
"""MonoTAKD: a camera learns what true depth would give it, and apart what only a LiDAR sees.

Liu et al., "MonoTAKD: Teaching Assistant Knowledge Distillation for Monocular 3D Object
Detection", CVPR 2025, https://arxiv.org/abs/2404.04910. Without an assistant it is Hong et al.,
"Cross-Modality Knowledge Distillation Network for Monocular 3D Object Detection" (CMKD), ECCV 2022,
https://arxiv.org/abs/2203.15839.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, get_args

from torch import Tensor, nn

from lidistill.distill.detectors.answers import answers_of
from lidistill.distill.detectors.heads import check_heads
from lidistill.distill.detectors.method import TapPair, detector_pair
from lidistill.distill.detectors.places import point_range
from lidistill.distill.distiller import Distiller
from lidistill.distill.schedules import Schedule
from lidistill.distill.taps import Tap
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
        student: BEV detector of cameras with CenterPoint's head or one of anchors, or config of
            one; with an assistant it has ``camera=dict(branches=dict(type=TwoBranches, ...))``.
        teachers: ``"teacher"``, of LiDAR, and ``"assistant"``, the student's architecture with true
            depth, each ``dict(model=..., checkpoint=...)``, see :class:`lidistill.distill.Teacher`.
            No assistant is CMKD: the student's map learns from the teacher's directly. Several are
            a chain from the teacher's side to the student's, ``"assistant_1"``,
            ``"assistant_2"``, ...: by number, whatever their order in the config.
        vis: the student's map that learns from the last assistant; without one, from the teacher.
        spa: the student's maps that learn the residuals, one an assistant: of teacher and first
            assistant, of first and second, ...; None is those of :class:`TwoBranches`.
        teacher_taps: name of a teacher -> map before its BEV network.
        compat: ``"released"`` computes as the release does: maps stretched to 0..1 and cut off
            from the gradient, a residual without sign of which the largest part is kept, a class
            term that grows with the batch. Its intra-modal term teaches nothing, and the audit
            stops a training with it: it is for comparison.
        weights: of ``intra``, ``cross``, ``response``; :data:`WEIGHTS` by default.

    Differs from the authors' release: the assistant is a trained network of its own and stands
    still; each term has a gradient; the residual keeps its sign; the head sees both branches;
    depth is measured nowhere but in training. Chains of several assistants are ours.
    """

    def __init__(
        self,
        student: nn.Module | dict,
        teachers: Mapping[str, dict],
        vis: str | Tap = "camera_branches.vis",
        spa: Sequence[str | Tap] | None = None,
        teacher_taps: Mapping[str, str | Tap] | None = None,
        compat: Compat = "paper",
        weights: Mapping[str, float | Schedule] | None = None,
    ) -> None:
        if compat not in get_args(Compat):
            raise ValueError(f"compat: expected one of {get_args(Compat)}, got {compat!r}")
        chain = _chain(teachers)
        named = sorted(teacher_taps or ())
        if set(named) - set(chain):
            raise ValueError(f"teacher_taps: expected names of teachers, {chain}, got {named}")
        student = MODELS.build(student) if isinstance(student, dict) else student
        answers = answers_of(student)
        taps: dict[str, TapPair] = {n: (tap, "teacher", None) for n, tap in answers.taps.items()}
        for name in teachers:
            taps[f"{name}_bev"] = None, name, (teacher_taps or {}).get(name, "bev_low")
        pair = detector_pair(student, teachers, taps)
        branches = _residual_taps(spa, len(chain) - 1)
        pair["student_taps"] |= {"vis": vis, **branches}
        if weights is None:
            weights = WEIGHTS[compat if branches else "cmkd"]
        super().__init__(**pair, weights=weights)
        check_heads(self.student, self.teachers["teacher"].model, "MonoTAKD")
        self.same_classes = frozenset(["teacher"])
        self.answers, self.compat = answers, compat
        self.chain, self.branches = chain, list(branches)
        for name, each in self.teachers.items():
            _check_ranges(self.student, each.model, name)

    def distill_losses(
        self, student: Any, teachers: dict[str, Any], batch: Any
    ) -> dict[str, Tensor]:
        """L_IMD, L_CMRD, L_logit: from the assistant, what it lacks, what the teacher answers."""
        del batch  # no labels are needed
        f_vis = student.vis.features
        f_t, *f_as = (getattr(teachers[name], f"{name}_bev").features for name in self.chain)
        response = self.response(student, teachers["teacher"])
        if not f_as:  # CMKD
            return {"cross": squared_gap(f_vis, f_t), "response": response}
        released = self.compat == "released"
        if released:
            f_as, f_vis = [min_max(f_a) for f_a in f_as], min_max(f_vis).detach()

        # intra-modal distillation: the same sensor, and what depth adds to it (L_IMD)
        intra = squared_gap(f_vis, f_as[-1])

        # cross-modal residual distillation: what the LiDAR has and the assistant has not (L_CMRD),
        # in a chain step by step
        cross = f_vis.new_zeros(())
        for spa, (above, below) in zip(self.branches, pairwise([f_t, *f_as]), strict=True):
            f_res = key_residual(above, below) if released else residual(above, below)
            cross = cross + squared_gap(getattr(student, spa).features, f_res)
        return {"intra": intra, "cross": cross, "response": response}

    def response(self, student: Any, teacher: Any) -> Tensor:
        """Classes and boxes of all cells or anchors, as soft labels of the teacher (L_logit)."""
        found = self.answers.terms(student, teacher)
        samples = len(student.vis.features) if self.compat == "paper" else 1
        return found["classes"] / max(samples, 1) + found["boxes"]


def _chain(teachers: Mapping[str, dict]) -> list[str]:
    """Names from the teacher to the assistant nearest to the student."""
    assistants = [name for name in teachers if name != "teacher"]
    odd = [name for name in assistants if not name.startswith("assistant")]
    if "teacher" not in teachers or odd:
        raise ValueError(
            "teachers: expected 'teacher' and 'assistant' (several, from the teacher's side on: "
            f"'assistant_1', 'assistant_2', ...), or 'teacher' alone (CMKD), got {sorted(teachers)}"
        )
    return ["teacher", *sorted(assistants, key=_number)]


def _number(name: str) -> int:
    """Of ``assistant_2``; 0 for names without one, which stay in the order of the config."""
    last = name.rpartition("_")[2]
    return int(last) if last.isdecimal() else 0


def _residual_taps(given: Sequence[str | Tap] | None, assistants: int) -> dict[str, str | Tap]:
    """The student's maps of residuals, by the names of their outputs."""
    if given is None:
        later = [f"camera_branches.later.{k}" for k in range(assistants - 1)]
        given = ["camera_branches.spa", *later][:assistants]
    if len(given) != assistants:
        raise ValueError(
            f"spa: expected one map for each of {assistants} assistants, got {len(given)}; give "
            "the student camera=dict(branches=dict(type=TwoBranches, residuals=...)) as many"
        )
    return {"spa" if k == 0 else f"spa_{k + 1}": tap for k, tap in enumerate(given)}


def _check_ranges(student: nn.Module, other: nn.Module, name: str) -> None:
    own, theirs = point_range(student), point_range(other)
    if own is not None and theirs is not None and own != theirs:
        raise ValueError(
            f"MonoTAKD compares maps cell by cell, but the student covers {own} and the {name} "
            f"{theirs} metres; give both one point_range and one voxel_size"
        )
