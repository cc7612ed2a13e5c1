# SPDX-License-Identifier: Apache-2.0
"""X-Ray's table with SECOND's encoder: sparse convolutions in place of pillars."""

import dataclasses

from lidistill.evidence.detectors import STUDENT
from lidistill.evidence.plans import xray
from lidistill.evidence.table import Table

CONFIGS = (
    "configs/evidence/centerpoint_voxels_cars.py",
    "configs/evidence/centerpoint_voxels_cars_xray_teacher.py",
    "configs/evidence/centerpoint_voxels_cars_xray.py",
)
ALONE = (*xray.FACTORS, 8)  # nearly as long as a taught one with its stages


def table() -> Table:
    """The rows of X-Ray's table; the student alone goes on for as long as being taught takes."""
    found = xray.table_of("xray_voxels", CONFIGS, xray.FACTORS)
    alone = (
        dataclasses.replace(line, curve=ALONE) if line.name == STUDENT else line
        for line in found.lines
    )
    return dataclasses.replace(found, lines=list(alone))
