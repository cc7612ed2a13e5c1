# SPDX-License-Identifier: Apache-2.0
"""X-Ray's table with SECOND's encoder: sparse convolutions in place of pillars."""

from lidistill.evidence.plans import xray
from lidistill.evidence.table import Table

CONFIGS = (
    "configs/evidence/centerpoint_voxels_cars.py",
    "configs/evidence/centerpoint_voxels_cars_xray_teacher.py",
    "configs/evidence/centerpoint_voxels_cars_xray.py",
)


def table() -> Table:
    """The rows of X-Ray's table."""
    return xray.table_of("xray_voxels", CONFIGS, xray.FACTORS)
