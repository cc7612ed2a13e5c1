# SPDX-License-Identifier: Apache-2.0
"""What teaching is worth to a quarter of CenterPoint, read at the plateau of the student."""

from lidistill.evidence.detectors import SMALL_CENTERPOINT, TEACHER, best_objectives, students
from lidistill.evidence.table import DOUBLINGS, Table

ITERS = 200  # of a student at 1x
TEACHER_ITERS = 1600  # as many as a student at 8x


def table() -> Table:
    """Curves of the student alone, under PointDistiller and under the zoo's best three."""
    lines = [SMALL_CENTERPOINT.alone(), SMALL_CENTERPOINT.point_distiller()]
    lines += map(SMALL_CENTERPOINT.objective, best_objectives("zoo_centerpoint", 3))
    return Table(
        method="compact_centerpoint_plateau",
        world=SMALL_CENTERPOINT.world,
        metric=SMALL_CENTERPOINT.metric,
        lines=[
            SMALL_CENTERPOINT.big(iters=TEACHER_ITERS),
            *students(lines, iters=ITERS, curve=DOUBLINGS),
        ],
        score="detection",
        classes=("car", "truck", "pedestrian"),
        teacher=TEACHER,
        choices=("zoo_centerpoint",),
    )
