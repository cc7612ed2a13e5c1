# SPDX-License-Identifier: Apache-2.0
"""What teaching is worth to a small PointPillars on real cars, read at the student's plateau."""

import dataclasses

from lidistill.evidence.detectors import SMALL_POINTPILLARS, TEACHER, best_objectives, students
from lidistill.evidence.real import DRIVES
from lidistill.evidence.table import Table

ITERS, CAP = 200, 8  # of a student at 1x; the last point of its curve
TEACHER_ITERS = ITERS * CAP
CURVE = (1, 2, 4, CAP)


def table() -> Table:
    """The student's curve; at its end PointDistiller and the zoo's best three."""
    cars = dataclasses.replace(SMALL_POINTPILLARS, world=DRIVES)
    zoo = list(map(cars.objective, best_objectives("zoo_pointpillars", 3)))
    return Table(
        method="real_detection",
        world=DRIVES,
        metric="3D AP R40 moderate of cars within 31 m, in percent",
        lines=[
            cars.big(iters=TEACHER_ITERS),
            *students([cars.alone()], iters=ITERS, curve=CURVE),
            *students([cars.point_distiller(), *zoo], iters=ITERS, curve=(CAP,)),
        ],
        score="detection",
        classes=("Car",),
        teacher=TEACHER,
        choices=("zoo_pointpillars",),
    )
