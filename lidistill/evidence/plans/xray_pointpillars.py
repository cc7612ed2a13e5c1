# SPDX-License-Identifier: Apache-2.0
"""X-Ray's table with PointPillars: anchors in place of centres."""

from lidistill.evidence.plans import xray
from lidistill.evidence.table import Table

CONFIGS = (
    "configs/evidence/pointpillars_cars.py",
    "configs/evidence/pointpillars_cars_xray_teacher.py",
    "configs/evidence/pointpillars_cars_xray.py",
)


def table() -> Table:
    """The rows of X-Ray's table."""
    return xray.table_of("xray_pointpillars", CONFIGS, factors=(1, 2, 4, 8))
