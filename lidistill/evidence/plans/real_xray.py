# SPDX-License-Identifier: Apache-2.0
"""X-Ray on real cars: a small PointPillars on two KITTI drives, scored on two others.

The teacher sees objects that were completed over their tracklets. The drives that are scored have
none, so the teacher itself cannot be scored as it was trained.
"""

from lidistill.evidence.detectors import STUDENT, TEACHER
from lidistill.evidence.real import COMPLETE_DRIVES
from lidistill.evidence.table import ROW, STAGE, Line, Table

ORDINARY_FRAMES = "configs/evidence/pointpillars_half.py"
COMPLETE_TEACHER = "configs/evidence/pointpillars_xray_teacher.py"
XRAY = "configs/evidence/pointpillars_xray.py"
ORDINARY = "teacher of ordinary frames"
FACTORS = (1, 2, 4)
LONGEST = FACTORS[-1]


def taught(name: str, teacher: str, complete: bool, note: str = "") -> Line:
    """The student under the three terms of X-Ray."""
    changes = {"model.teacher.checkpoint": f"{ROW}{teacher}", "model.teacher.complete": complete}
    return Line(f"{STUDENT} + {name}", XRAY, changes, STUDENT, curve=FACTORS, note=note)


def table() -> Table:
    """Curves of the student alone, under X-Ray, and under a teacher that sees no more."""
    return Table(
        method="real_xray",
        world=COMPLETE_DRIVES,
        metric="3D AP R40 moderate of cars within 31 m, in percent",
        score="detection",
        classes=("Car",),
        iters=400,
        lines=[
            Line(TEACHER, COMPLETE_TEACHER, steps=LONGEST, score=STAGE),
            Line(ORDINARY, ORDINARY_FRAMES, steps=LONGEST, score=STAGE),
            Line(STUDENT, ORDINARY_FRAMES, curve=FACTORS),
            taught("X-Ray", TEACHER, complete=True),
            taught("the same terms, teacher of ordinary frames", ORDINARY, False, "control"),
        ],
    )
