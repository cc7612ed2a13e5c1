# SPDX-License-Identifier: Apache-2.0
"""UniDistill's paths to a student of cameras, from LiDAR and from both, as curves over steps."""

from lidistill.evidence.plans.unidistill_lidar import paths_to, teacher
from lidistill.evidence.table import Table

ITERS = 400  # after 200 steps a detector of cameras alone finds nothing at all
TAUGHT = (1, 2)  # the student alone goes on as long as these take


def table() -> Table:
    """The student of cameras."""
    teachers = {sensors: teacher(sensors) for sensors in ("lidar", "fusion")}
    return paths_to("camera", teachers, iters=ITERS, curve=TAUGHT)
