# SPDX-License-Identifier: Apache-2.0
"""PointDistiller's choices on CenterPoint, one at a time, on the world kept for choices."""

from lidistill.evidence.detectors import CENTERPOINT, graph_choices, students
from lidistill.evidence.table import Table

PLACES = {"pillars": 600}  # of the graphs, on BEV maps where there is a config


def table() -> Table:
    """The student alone and under each variant."""
    taught = [
        CENTERPOINT.point_distiller(name, more, maps=True)
        for name, more in graph_choices(PLACES).items()
    ]
    return Table(
        method="graphs_centerpoint",
        world=CENTERPOINT.world,
        metric=CENTERPOINT.metric,
        lines=[CENTERPOINT.big(), *students([CENTERPOINT.alone(), *taught], iters=600)],
        score="detection",
        kind="choice",
    )
