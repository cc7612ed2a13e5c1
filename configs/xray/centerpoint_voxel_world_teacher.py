# SPDX-License-Identifier: Apache-2.0
"""X-Ray's teacher: CenterPoint on voxels that sees object-complete frames, embedded world."""

from mmengine.config import read_base

with read_base():
    from .._base_.centerpoint_voxel_world import *
    from .._base_.xray_world_teacher import *

model = detector
