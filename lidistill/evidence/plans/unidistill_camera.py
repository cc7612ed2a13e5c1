# SPDX-License-Identifier: Apache-2.0
"""UniDistill's paths to a student of cameras, from LiDAR and from both, as curves over steps."""

from lidistill.evidence.plans.unidistill_lidar import paths_to, teacher
from lidistill.evidence.table import Table


def table() -> Table:
    """The student of cameras."""
    return paths_to("camera", {sensors: teacher(sensors) for sensors in ("lidar", "fusion")})
