# SPDX-License-Identifier: Apache-2.0
"""The teacher of ``monotakd_world_kitti``: SECOND on LiDAR, with the student's map and head."""

from mmengine.config import read_base

with read_base():
    from .caddn_world_kitti import *

test_dataloader["dataset"].update(pipeline=test_with_lidar)
model = lidar_detector
