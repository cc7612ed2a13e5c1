# SPDX-License-Identifier: Apache-2.0
"""What teaching is worth to a quarter of PointPillars, read at the plateau of the student."""

from lidistill.evidence.detectors import SMALL_POINTPILLARS, TEACHER, best_objectives, students
from lidistill.evidence.table import DOUBLINGS, Table

ITERS = 200  # of a student at 1x
TEACHER_ITERS = 1600  # as many as a student at 8x


def table() -> Table:
    """Curves of the student alone, under PointDistiller and under the zoo's best three."""
    lines = [SMALL_POINTPILLARS.alone(), SMALL_POINTPILLARS.point_distiller()]
    lines += map(SMALL_POINTPILLARS.objective, best_objectives("zoo_pointpillars", 3))
    return Table(
        method="compact_pointpillars_plateau",
        world=SMALL_POINTPILLARS.world,
        metric=SMALL_POINTPILLARS.metric,
        lines=[
            SMALL_POINTPILLARS.big(iters=TEACHER_ITERS),
            *students(lines, iters=ITERS, curve=DOUBLINGS),
        ],
        score="detection",
        classes=("Car",),
        teacher=TEACHER,
        choices=("zoo_pointpillars",),
    )
