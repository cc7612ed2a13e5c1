# SPDX-License-Identifier: Apache-2.0
"""What a teacher is worth to a student with a tenth of the labels, with and without the rest."""

from typing import Any

from lidistill.evidence.detectors import SMALL_CENTERPOINT, STUDENT, students
from lidistill.evidence.table import DOUBLINGS, ROW, STAGE, Line, Table

ONE = {"train_dataloader.dataset.scenes": 1}  # the other nine scenes are left out
REST = {  # the other nine are there without labels; the teacher's boxes say where to compare
    "train_dataloader.dataset.labelled": 1,
    "model.unlabelled": {"teacher": "teacher", "score": 0.3},
}
FEW, ALL = "teacher of one scene", "teacher of ten scenes"
TAUGHT = SMALL_CENTERPOINT.objective("pivotal")


def taught(name: str, teacher: str, frames: dict[str, Any]) -> Line:
    """The student under SparseKD's pivotal positions."""
    more = {**frames, "model.teachers.teacher.checkpoint": f"{ROW}{teacher}"}
    return Line(f"{STUDENT} + {name}", TAUGHT.config, {**TAUGHT.changes, **more}, STUDENT)


def table() -> Table:
    """Curves of the student alone, and taught on the labelled scene or on all ten."""
    alone = SMALL_CENTERPOINT.alone()
    lines = [
        Line(STUDENT, alone.config, {**alone.changes, **ONE}),
        taught("teacher of one scene, that scene", FEW, ONE),
        taught("teacher of one scene, all frames", FEW, REST),
        taught("teacher of ten scenes, that scene", ALL, ONE),
        taught("teacher of ten scenes, all frames", ALL, REST),
    ]
    teacher = SMALL_CENTERPOINT.teacher
    return Table(
        method="few_labels_centerpoint",
        world=SMALL_CENTERPOINT.world,
        metric=f"{SMALL_CENTERPOINT.metric}, one labelled scene",
        score="detection",
        classes=("car", "truck", "pedestrian"),
        choices=("zoo_centerpoint",),
        lines=[
            Line(FEW, teacher, ONE, iters=1600, score=STAGE),
            Line(ALL, teacher, iters=1600, score=STAGE),
            *students(lines, iters=200, curve=DOUBLINGS),
        ],
    )
