# SPDX-License-Identifier: Apache-2.0
"""Which objectives of the zoo serve CenterPoint best: short runs on the world kept for choices."""

from lidistill.evidence.detectors import CENTERPOINT, students
from lidistill.evidence.table import Table


def table() -> Table:
    """The student alone and under each objective."""
    lines = [CENTERPOINT.alone(), *map(CENTERPOINT.objective, CENTERPOINT.objectives())]
    return Table(
        method="zoo_centerpoint",
        world=CENTERPOINT.world,
        metric=CENTERPOINT.metric,
        lines=[CENTERPOINT.big(), *students(lines, iters=600)],
        score="detection",
        kind="choice",
    )
