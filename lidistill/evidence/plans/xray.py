# SPDX-License-Identifier: Apache-2.0
"""What a teacher on object-complete frames is worth to the same detector on ordinary ones."""

from collections.abc import Mapping
from typing import Any

from lidistill.evidence.detectors import SMALL_CENTERPOINT, STUDENT, TEACHER
from lidistill.evidence.table import ROW, Line, Table
from lidistill.evidence.worlds import COMPLETE

ORDINARY_FRAMES = "configs/evidence/centerpoint_half.py"
COMPLETE_TEACHER = "configs/evidence/centerpoint_xray_teacher.py"
XRAY = "configs/evidence/centerpoint_xray.py"
ORDINARY = "teacher of ordinary frames"
ITERS = 400  # of a student at 1x
FACTORS = (1, 2, 4)
LONGEST = FACTORS[-1]


def taught(
    name: str, teacher: str = TEACHER, more: Mapping[str, Any] | None = None, **options: Any
) -> Line:
    """The student under X-Ray."""
    changes = {"model.teacher.checkpoint": f"{ROW}{teacher}", **(more or {})}
    return Line(f"{STUDENT} + {name}", XRAY, changes, STUDENT, **options)


def table() -> Table:
    """Curves of the student alone and taught; each term alone; a teacher of ordinary frames."""
    return Table(
        method="xray",
        world=COMPLETE,
        metric=SMALL_CENTERPOINT.metric,
        score="detection",
        classes=("car", "truck", "pedestrian"),
        teacher=TEACHER,
        iters=ITERS,
        lines=[
            Line(TEACHER, COMPLETE_TEACHER, steps=LONGEST, note="scored on object-complete frames"),
            Line(ORDINARY, ORDINARY_FRAMES, steps=LONGEST),
            Line(STUDENT, ORDINARY_FRAMES, curve=FACTORS),
            taught("X-Ray", curve=FACTORS),
            taught("X-Ray, features alone", more={"model.terms": ["feature"]}),
            taught("X-Ray, classes alone", more={"model.terms": ["classes"]}),
            taught("X-Ray, boxes alone", more={"model.terms": ["boxes"]}),
            taught(
                "the same terms, teacher of ordinary frames",
                ORDINARY,
                {"model.teacher.complete": False},
                note="control: the teacher sees no more than the student",
            ),
        ],
    )
