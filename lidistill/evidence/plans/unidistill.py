# SPDX-License-Identifier: Apache-2.0
"""UniDistill's four paths beside the same student alone, as curves over steps."""

from lidistill.evidence.table import CONFIG, ROW, Line, Table
from lidistill.evidence.worlds import NUSCENES

FILE = "configs/evidence/unidistill.py"
ITERS = 200  # of a student at 1x
TEACHER_ITERS = 1600  # as many as a student at 8x
DOUBLINGS = (1, 2, 4, 8)
NAMES = {"lidar": "LiDAR", "camera": "cameras", "fusion": "LiDAR and cameras"}
PATHS = (
    ("lidar", "camera"),
    ("camera", "lidar"),
    ("fusion", "lidar"),
    ("fusion", "camera"),
)


def teacher(sensors: str) -> Line:
    """A detector that others learn from."""
    model = {"model": f"{CONFIG}detectors.{sensors}"}
    return Line(f"teacher, {NAMES[sensors]}", FILE, model, iters=TEACHER_ITERS)


def alone(sensors: str) -> Line:
    """The student without a teacher."""
    model = {"model": f"{CONFIG}detectors.{sensors}"}
    return Line(NAMES[sensors], FILE, model, curve=DOUBLINGS)


def taught(source: str, target: str) -> Line:
    """One path."""
    changes = {
        "model": f"{CONFIG}paths.{source}_to_{target}",
        "model.teacher.checkpoint": f"{ROW}teacher, {NAMES[source]}",
    }
    name = f"{NAMES[target]} from {NAMES[source]}"
    return Line(name, FILE, changes, NAMES[target], curve=DOUBLINGS)


def table() -> Table:
    """Three teachers, two students alone, four paths."""
    return Table(
        method="unidistill",
        world=NUSCENES,
        metric="mAP of nuScenes' detection benchmark within 29 m",
        score="detection",
        iters=ITERS,
        lines=[
            *map(teacher, NAMES),
            *map(alone, ("lidar", "camera")),
            *(taught(source, target) for source, target in PATHS),
        ],
    )
