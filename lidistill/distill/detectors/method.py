# SPDX-License-Identifier: Apache-2.0
"""What methods on detectors share: one student, named teachers, taps on both sides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from lidistill.distill.taps import Tap
from lidistill.registry import MODELS

TapPair = tuple[str | Tap | dict | None, str, str | Tap | dict | None]


def detector_pair(
    student: nn.Module | dict,
    teachers: Mapping[str, dict],
    taps: Mapping[str, TapPair],
) -> dict[str, Any]:
    """Arguments of a :class:`lidistill.distill.distiller.Distiller` for mmdet3d detectors.

    Args:
        student: detector, or config of one.
        teachers: name -> ``dict(model=..., checkpoint=...)``, further arguments of Teacher.
        taps: name -> (path in the student, teacher's name, path in that teacher or None for the
            same); None in place of the student's path taps the teacher alone.

    Raises:
        ValueError: a tap names an unknown teacher; a teacher without taps.
    """
    own: dict[str, str | Tap] = {}
    targets: dict[str, dict[str, str | Tap]] = {name: {} for name in teachers}
    for name, (tap, teacher, teacher_tap) in taps.items():
        if teacher not in targets:
            raise ValueError(f"{name} names the teacher {teacher!r}; there are {sorted(targets)}")
        if tap is not None:
            own[name] = as_tap(tap)
        wanted = tap if teacher_tap is None else teacher_tap
        if wanted is None:
            raise ValueError(f"{name} taps neither the student nor the teacher {teacher!r}")
        targets[teacher][name] = as_tap(wanted)
    idle = [name for name, found in targets.items() if not found]
    if idle:
        raise ValueError(f"nothing is taken from the teachers {idle}; remove them or tap them")
    built = MODELS.build(student) if isinstance(student, dict) else student
    return {
        "student": built,
        "student_taps": own,
        "teachers": {name: {**teachers[name], "taps": targets[name]} for name in teachers},
    }


def as_tap(tap: str | Tap | dict) -> str | Tap:
    """A dictionary stands for the fields of a :class:`Tap`."""
    return Tap(**tap) if isinstance(tap, dict) else tap
