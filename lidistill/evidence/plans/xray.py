# SPDX-License-Identifier: Apache-2.0
"""What a teacher on object-complete frames is worth to the same detector on ordinary ones."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from lidistill.evidence.detectors import SMALL_CENTERPOINT, STUDENT, TEACHER
from lidistill.evidence.table import DOUBLINGS, ROW, Line, Table
from lidistill.evidence.worlds import COMPLETE

XRAY = "configs/evidence/centerpoint_xray.py"
COMPLETE_TEACHER = "configs/evidence/centerpoint_xray_teacher.py"
ORDINARY = "teacher of ordinary frames"
OWN_FRAME = {"train_dataloader.dataset.dataset.pipeline.1.window": 0}  # of ComposeObjectComplete


def taught(name: str, teacher: str = TEACHER, more: Mapping[str, Any] | None = None) -> Line:
    """The student under X-Ray."""
    changes = {"model.teacher.checkpoint": f"{ROW}{teacher}", **(more or {})}
    return Line(f"{STUDENT} + {name}", XRAY, changes, STUDENT, iters=200)


def table() -> Table:
    """Curves of the student alone and taught; each term alone; a teacher of ordinary frames."""
    alone = Line(STUDENT, SMALL_CENTERPOINT.teacher, iters=200, curve=DOUBLINGS)
    return Table(
        method="xray",
        world=COMPLETE,
        metric=f"{SMALL_CENTERPOINT.metric}; the teacher on object-complete frames",
        score="detection",
        classes=("car", "truck", "pedestrian"),
        lines=[
            Line(TEACHER, COMPLETE_TEACHER, iters=1600),
            Line(ORDINARY, SMALL_CENTERPOINT.teacher, iters=1600),
            alone,
            dataclasses.replace(taught("X-Ray"), curve=DOUBLINGS),
            taught("X-Ray, features alone", more={"model.terms": ["feature"]}),
            taught("X-Ray, classes alone", more={"model.terms": ["classes"]}),
            taught("X-Ray, boxes alone", more={"model.terms": ["boxes"]}),
            dataclasses.replace(
                taught("the same terms, teacher of ordinary frames", ORDINARY, OWN_FRAME),
                note="control: the teacher sees no more than the student",
            ),
        ],
    )
