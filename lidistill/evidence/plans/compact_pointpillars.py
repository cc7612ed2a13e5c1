# SPDX-License-Identifier: Apache-2.0
"""A compact PointPillars: teacher, student alone and longer, PointDistiller, the zoo's best."""

from lidistill.evidence.detectors import POINTPILLARS, best_objectives, students
from lidistill.evidence.table import Table

ITERS = 800  # of students; the teacher trains as long as its config says


def table() -> Table:
    """The student alone for longer pays for what the dearest method adds to a step."""
    lines = [POINTPILLARS.alone(), *map(POINTPILLARS.alone, (1.5, 2.2))]
    lines += [
        POINTPILLARS.point_distiller(),
        POINTPILLARS.point_distiller("PointDistiller on maps", maps=True),
    ]
    lines += map(POINTPILLARS.objective, best_objectives("zoo_pointpillars", 3))
    return Table(
        method="compact_pointpillars",
        world=POINTPILLARS.world,
        metric=POINTPILLARS.metric,
        lines=[POINTPILLARS.big(), *students(lines, iters=ITERS)],
        score="detection",
        choices=("zoo_pointpillars",),
    )
