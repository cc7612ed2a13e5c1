# SPDX-License-Identifier: Apache-2.0
"""CenterPoint on voxels, embedded world."""

from mmengine.config import read_base

with read_base():
    from .._base_.centerpoint_voxel_world import *
    from .._base_.detection_world_nuscenes import *

model = detector
