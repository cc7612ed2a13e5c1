# SPDX-License-Identifier: Apache-2.0
"""UniDistill's paths to a student of cameras, from LiDAR and from both, as curves over steps."""

import dataclasses

from lidistill.evidence.plans.unidistill_lidar import paths_to, taught, teacher
from lidistill.evidence.table import Table

ITERS = 400  # after 200 steps a detector of cameras alone finds nothing at all
TAUGHT = (1, 2)  # the student alone goes on as long as these take


def table() -> Table:
    """The student of cameras; at the end, without the term that works against its own loss."""
    teachers = {sensors: teacher(sensors) for sensors in ("lidar", "fusion")}
    paths = paths_to("camera", teachers, iters=ITERS, curve=TAUGHT)
    whole = taught("lidar", "camera", TAUGHT[-1:])
    without = dataclasses.replace(
        whole,
        name=f"{whole.name}, no response",
        changes={**whole.changes, "model.weights.response": 0.0},
    )
    return dataclasses.replace(paths, lines=[*paths.lines, without])
