# SPDX-License-Identifier: Apache-2.0
"""Which objectives of the zoo serve PointPillars best: short runs on the world kept for choices."""

from lidistill.evidence.detectors import POINTPILLARS, students
from lidistill.evidence.table import Table


def table() -> Table:
    """The student alone and under each objective."""
    lines = [POINTPILLARS.alone(), *map(POINTPILLARS.objective, POINTPILLARS.objectives())]
    return Table(
        method="zoo_pointpillars",
        world=POINTPILLARS.world,
        metric=POINTPILLARS.metric,
        lines=[POINTPILLARS.big(), *students(lines, iters=600)],
        score="detection",
        kind="choice",
    )
