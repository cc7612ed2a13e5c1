# SPDX-License-Identifier: Apache-2.0
"""UniDistill's paths to a student of LiDAR, from cameras and from both, as curves over steps."""

from lidistill.evidence.table import CONFIG, ROW, Line, Table
from lidistill.evidence.worlds import NUSCENES

FILE = "configs/evidence/unidistill.py"
ITERS = 200  # of a student at 1x
CURVE = (1, 2, 4)
TEACHER_ITERS = 800  # as many as a student at 4x
NAMES = {"lidar": "LiDAR", "camera": "cameras", "fusion": "LiDAR and cameras"}


def teacher(sensors: str) -> Line:
    """A detector that others learn from."""
    model = {"model": f"{CONFIG}detectors.{sensors}"}
    return Line(f"teacher, {NAMES[sensors]}", FILE, model, iters=TEACHER_ITERS)


def alone(sensors: str) -> Line:
    """The student without a teacher."""
    model = {"model": f"{CONFIG}detectors.{sensors}"}
    return Line(NAMES[sensors], FILE, model, curve=CURVE)


def taught(source: str, target: str) -> Line:
    """One path."""
    changes = {
        "model": f"{CONFIG}paths.{source}_to_{target}",
        "model.teacher.checkpoint": f"{ROW}teacher, {NAMES[source]}",
    }
    name = f"{NAMES[target]} from {NAMES[source]}"
    return Line(name, FILE, changes, NAMES[target], curve=CURVE)


def paths_to(target: str, sources: tuple[str, str]) -> Table:
    """Two teachers, the student alone, and what it learns from each."""
    return Table(
        method=f"unidistill_{target}",
        world=NUSCENES,
        metric="mAP of nuScenes' detection benchmark within 29 m",
        score="detection",
        iters=ITERS,
        lines=[
            *map(teacher, sources),
            alone(target),
            *(taught(source, target) for source in sources),
        ],
    )


def table() -> Table:
    """The student of LiDAR."""
    return paths_to("lidar", ("fusion", "camera"))
