# SPDX-License-Identifier: Apache-2.0
"""What a teacher on object-complete frames is worth to the same detector on ordinary ones."""

from collections.abc import Sequence
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


def table_of(method: str, configs: Sequence[str], factors: Sequence[int]) -> Table:
    """The student alone over its steps; taught; and taught by one that sees no more.

    Args:
        method: names the record.
        configs: of the student, of its teacher, of both together.
        factors: of the student's curve; teacher and taught rows train for its last.
    """
    ordinary, complete, distilled = configs
    longest = factors[-1]

    def taught(name: str, teacher: str, note: str = "", **changes: Any) -> Line:
        changes = {"model.teacher.checkpoint": f"{ROW}{teacher}", **changes}
        return Line(f"{STUDENT} + {name}", distilled, changes, STUDENT, curve=(longest,), note=note)

    return Table(
        method=method,
        world=COMPLETE,
        metric=METRIC,
        score="detection",
        classes=("car",),
        teacher=TEACHER,
        iters=ITERS,
        lines=[
            Line(TEACHER, complete, steps=longest, note="scored on object-complete frames"),
            Line(STUDENT, ordinary, curve=factors),
            taught("X-Ray", TEACHER),
            taught(
                "the same terms, teacher of ordinary frames",
                point_name(STUDENT, longest),
                "control: the teacher is the student alone, trained to its end",
                **{"model.teacher.complete": False},
            ),
        ],
    )


def table() -> Table:
    """CenterPoint's."""
    return table_of("xray", (ORDINARY_FRAMES, COMPLETE_TEACHER, XRAY), FACTORS)
