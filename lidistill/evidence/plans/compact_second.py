# SPDX-License-Identifier: Apache-2.0
"""A compact SECOND: teacher, student alone and longer, PointDistiller, the zoo's best."""

from lidistill.evidence.detectors import SECOND, best_objectives, students
from lidistill.evidence.table import Table

ITERS = 800  # of students; the teacher trains as long as its config says


def table() -> Table:
    """The student alone for longer pays for what the dearest method adds to a step."""
    lines = [SECOND.alone(), *map(SECOND.alone, (1.5, 1.75))]
    lines += [SECOND.point_distiller()]
    lines += map(SECOND.objective, best_objectives("zoo_second", 3))
    return Table(
        method="compact_second",
        world=SECOND.world,
        metric=SECOND.metric,
        lines=[SECOND.big(), *students(lines, iters=ITERS)],
        score="detection",
        choices=("zoo_second",),
    )
