# SPDX-License-Identifier: Apache-2.0
"""Real cars with 20 labelled frames: what a teacher is worth, with and without the other 179."""

import dataclasses
from typing import Any

from lidistill.evidence.detectors import SMALL_POINTPILLARS, STUDENT, best_objectives, students
from lidistill.evidence.plans.real_detection import CAP, CURVE, ITERS, TEACHER_ITERS
from lidistill.evidence.real import DRIVES
from lidistill.evidence.table import ROW, Line, Table

LABELLED = {"train_dataloader.dataset.labelled": 0.1}  # of 199 frames, evenly spaced
ONLY = {**LABELLED, "train_dataloader.dataset.keep_unlabelled": False}
REST = {**LABELLED, "model.unlabelled": {"teacher": "teacher", "score": 0.3}}
LONGER = 30  # times 1x: as long as a taught student and its teacher take
FEW, ALL = "teacher of 20 labels", "teacher of 199 labels"
CARS = dataclasses.replace(SMALL_POINTPILLARS, world=DRIVES)


def taught(taught_by: Line, name: str, teacher: str, frames: dict[str, Any]) -> Line:
    """The student under the zoo's best objective."""
    more = {**frames, "model.teachers.teacher.checkpoint": f"{ROW}{teacher}"}
    changes = {**taught_by.changes, **more}
    return dataclasses.replace(taught_by, name=f"{STUDENT} + {name}", changes=changes)


def table() -> Table:
    """The curve of the student alone; at its end taught on the labelled frames, and on all."""
    alone, longer = (
        dataclasses.replace(line, changes={**line.changes, **ONLY})
        for line in (CARS.alone(), CARS.alone(LONGER))
    )
    best = CARS.objective(*best_objectives("zoo_pointpillars", 1))
    lines = [
        taught(best, "teacher of 20 labels, those frames", FEW, ONLY),
        taught(best, "teacher of 20 labels, all frames", FEW, REST),
        taught(best, "teacher of 199 labels, all frames", ALL, REST),
    ]
    return Table(
        method="real_few_labels",
        world=DRIVES,
        metric="3D AP R40 moderate of cars within 31 m, in percent, 20 labelled frames",
        score="detection",
        classes=("Car",),
        choices=("zoo_pointpillars",),
        lines=[
            Line(FEW, CARS.teacher, ONLY, iters=TEACHER_ITERS),
            Line(ALL, CARS.teacher, iters=TEACHER_ITERS, note="knows the labels of all frames"),
            *students([alone], iters=ITERS, curve=CURVE),
            *students([longer], iters=ITERS, twin=None),
            *students(lines, iters=ITERS, curve=(CAP,)),
        ],
    )
