# SPDX-License-Identifier: Apache-2.0
"""What a teacher on object-complete frames is worth to the same detector on ordinary ones."""

from typing import Any

from lidistill.evidence.detectors import STUDENT, TEACHER
from lidistill.evidence.plan import point_name
from lidistill.evidence.table import ROW, Line, Table
from lidistill.evidence.worlds import COMPLETE

ORDINARY_FRAMES = "configs/evidence/centerpoint_cars.py"
COMPLETE_TEACHER = "configs/evidence/centerpoint_xray_teacher.py"
XRAY = "configs/evidence/centerpoint_xray.py"
METRIC = "AP of nuScenes' detection benchmark, cars"
ITERS = 200  # of a student at 1x
FACTORS = (1, 2, 4)
LONGEST = FACTORS[-1]


def taught(name: str, teacher: str = TEACHER, note: str = "", **changes: Any) -> Line:
    """The student under X-Ray, as long as the longest student alone."""
    changes = {"model.teacher.checkpoint": f"{ROW}{teacher}", **changes}
    return Line(f"{STUDENT} + {name}", XRAY, changes, STUDENT, curve=(LONGEST,), note=note)


def table() -> Table:
    """The student alone over its steps; taught; and taught by one that sees no more."""
    return Table(
        method="xray",
        world=COMPLETE,
        metric=METRIC,
        score="detection",
        classes=("car",),
        teacher=TEACHER,
        iters=ITERS,
        lines=[
            Line(TEACHER, COMPLETE_TEACHER, steps=LONGEST, note="scored on object-complete frames"),
            Line(STUDENT, ORDINARY_FRAMES, curve=FACTORS),
            taught("X-Ray"),
            taught(
                "the same terms, teacher of ordinary frames",
                point_name(STUDENT, LONGEST),
                "control: the teacher is the student alone, trained to its end",
                **{"model.teacher.complete": False},
            ),
        ],
    )
