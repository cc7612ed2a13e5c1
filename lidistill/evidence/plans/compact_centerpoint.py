# SPDX-License-Identifier: Apache-2.0
"""A compact CenterPoint: teacher, student alone and longer, PointDistiller, the zoo's best."""

from lidistill.evidence.detectors import CENTERPOINT, best_objectives, students
from lidistill.evidence.table import Table

ITERS = 800  # of students; the teacher trains as long as its config says


def table() -> Table:
    """The student alone for longer pays for what the dearest method adds to a step."""
    lines = [CENTERPOINT.alone(), *map(CENTERPOINT.alone, (1.5, 1.8))]
    lines += [CENTERPOINT.point_distiller()]
    lines += map(CENTERPOINT.objective, best_objectives("zoo_centerpoint", 3))
    return Table(
        method="compact_centerpoint",
        world=CENTERPOINT.world,
        metric=CENTERPOINT.metric,
        lines=[CENTERPOINT.big(), *students(lines, iters=ITERS)],
        score="detection",
        choices=("zoo_centerpoint",),
    )
