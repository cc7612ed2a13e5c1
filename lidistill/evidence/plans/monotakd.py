# SPDX-License-Identifier: Apache-2.0
"""One camera alone, under CMKD, under MonoTAKD and its parts, as curves over steps."""

from collections.abc import Mapping
from typing import Any

from lidistill.evidence.table import CONFIG, ROW, Line, Table
from lidistill.evidence.worlds import KITTI_MORE

FILE = "configs/evidence/monotakd.py"
ITERS, TEACHER_ITERS = 300, 800  # of a student at 1x
DOUBLINGS, ALONE = (1, 2), (1, 2, 4)  # alone as long as a taught one takes
TEACHER, ASSISTANT, STUDENT = "teacher, LiDAR", "assistant, true depth", "one camera"
WITH_LIDAR = {"test_dataloader.dataset.pipeline": f"{CONFIG}test_with_lidar"}
PARTS = {  # weights in place of the config's
    "response alone": {"intra": 0.0, "cross": 0.0},
    "response, intra-modal": {"cross": 0.0},
    "response, residual": {"intra": 0.0},
    "MonoTAKD, all weights 1": {"intra": 1.0, "cross": 1.0, "response": 1.0},
}


def privileged(name: str, model: str) -> Line:
    """A detector that sees the LiDAR, in its test too."""
    return Line(name, FILE, {"model": f"{CONFIG}models.{model}", **WITH_LIDAR}, iters=TEACHER_ITERS)


def taught(name: str, model: str, weights: Mapping[str, float], **options: Any) -> Line:
    """The student under a method."""
    names = {"teacher": TEACHER} | ({"assistant": ASSISTANT} if model == "monotakd" else {})
    changes: dict[str, Any] = {"model": f"{CONFIG}models.{model}"}
    changes |= {f"model.teachers.{k}.checkpoint": f"{ROW}{row}" for k, row in names.items()}
    changes |= {f"model.weights.{term}": value for term, value in weights.items()}
    return Line(f"{STUDENT} + {name}", FILE, changes, STUDENT, **options)


def table() -> Table:
    """Teacher and assistant, the student's curve and those of both methods, the terms apart."""
    return Table(
        method="monotakd",
        world=KITTI_MORE,
        metric="3D AP R40 moderate of cars at an overlap of 0.5, in percent",
        score="detection",
        iters=ITERS,
        lines=[
            privileged(TEACHER, "teacher"),
            privileged(ASSISTANT, "assistant"),
            Line(STUDENT, FILE, {"model": f"{CONFIG}models.student"}, curve=ALONE),
            Line(
                f"{STUDENT}, MonoTAKD's modules, no teacher",
                FILE,
                {"model": f"{CONFIG}models.branches"},
                STUDENT,
                note="control: the larger student",
            ),
            taught("CMKD", "cmkd", {}, curve=DOUBLINGS),
            taught("MonoTAKD", "monotakd", {}, curve=DOUBLINGS),
            *(taught(name, "monotakd", weights) for name, weights in PARTS.items()),
        ],
    )
