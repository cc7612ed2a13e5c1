# SPDX-License-Identifier: Apache-2.0
"""Which objectives of the zoo serve SECOND best: short runs on the world kept for choices."""

from lidistill.evidence.detectors import SECOND, students
from lidistill.evidence.table import Table


def table() -> Table:
    """The student alone and under each objective."""
    lines = [SECOND.alone(), *map(SECOND.objective, SECOND.objectives())]
    return Table(
        method="zoo_second",
        world=SECOND.world,
        metric=SECOND.metric,
        lines=[SECOND.big(), *students(lines, iters=600)],
        score="detection",
        kind="choice",
    )
