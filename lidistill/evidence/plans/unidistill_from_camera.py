# SPDX-License-Identifier: Apache-2.0
"""UniDistill's path from cameras to LiDAR, as curves over steps."""

from lidistill.evidence.plans.unidistill_lidar import paths_to, teacher
from lidistill.evidence.table import Table

LONGER = 6400  # after 800 steps a detector of cameras finds next to nothing: 0.03 mAP


def table() -> Table:
    """The student of LiDAR, taught by a detector of cameras that was trained for long."""
    return paths_to("lidar", {"camera": teacher("camera", LONGER)}, "from_camera")
