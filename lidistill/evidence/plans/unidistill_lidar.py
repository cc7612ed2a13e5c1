# SPDX-License-Identifier: Apache-2.0
"""UniDistill's path from LiDAR and cameras to LiDAR alone, as curves over steps."""

from lidistill.evidence.table import CONFIG, ROW, Line, Table
from lidistill.evidence.worlds import NUSCENES

FILE = "configs/evidence/unidistill.py"
ITERS = 200  # of a student at 1x
CURVE = (1, 2, 4)
TEACHER_ITERS = 800  # as many as a student at 4x
NAMES = {"lidar": "LiDAR", "camera": "cameras", "fusion": "LiDAR and cameras"}


def teacher(sensors: str, iters: int = TEACHER_ITERS) -> Line:
    """A detector that others learn from."""
    model = {"model": f"{CONFIG}detectors.{sensors}"}
    return Line(f"teacher, {NAMES[sensors]}", FILE, model, iters=iters)


def alone(sensors: str) -> Line:
    """The student without a teacher."""
    model = {"model": f"{CONFIG}detectors.{sensors}"}
    return Line(NAMES[sensors], FILE, model, curve=CURVE)


def taught(source: str, target: str, curve: tuple[int, ...] = CURVE) -> Line:
    """One path."""
    changes = {
        "model": f"{CONFIG}paths.{source}_to_{target}",
        "model.teacher.checkpoint": f"{ROW}teacher, {NAMES[source]}",
    }
    name = f"{NAMES[target]} from {NAMES[source]}"
    return Line(name, FILE, changes, NAMES[target], curve=curve)


def paths_to(
    target: str,
    teachers: dict[str, Line],
    name: str | None = None,
    iters: int = ITERS,
    curve: tuple[int, ...] = CURVE,
) -> Table:
    """Teachers by their sensors, the student alone, and what it learns from each."""
    return Table(
        method=f"unidistill_{name or target}",
        world=NUSCENES,
        metric="mAP of nuScenes' detection benchmark within 29 m",
        score="detection",
        iters=iters,
        lines=[
            *teachers.values(),
            alone(target),
            *(taught(source, target, curve) for source in teachers),
        ],
    )


def table() -> Table:
    """The student of LiDAR."""
    return paths_to("lidar", {"fusion": teacher("fusion")})
