# SPDX-License-Identifier: Apache-2.0
"""PointDistiller's choices on PointPillars, one at a time, on the world kept for choices."""

from lidistill.evidence.detectors import POINTPILLARS, graph_choices, students
from lidistill.evidence.table import Table

PLACES = {"stage1": 256, "stage2": 256}  # of the graphs, on BEV maps where there is a config


def table() -> Table:
    """The student alone and under each variant."""
    taught = [
        POINTPILLARS.point_distiller(name, more, maps=True)
        for name, more in graph_choices(PLACES).items()
    ]
    return Table(
        method="graphs_pointpillars",
        world=POINTPILLARS.world,
        metric=POINTPILLARS.metric,
        lines=[POINTPILLARS.big(), *students([POINTPILLARS.alone(), *taught], iters=600)],
        score="detection",
        kind="choice",
    )
