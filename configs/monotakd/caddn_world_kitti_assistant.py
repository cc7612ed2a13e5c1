# SPDX-License-Identifier: Apache-2.0
"""MonoTAKD's assistant: ``caddn_world_kitti`` with the LiDAR's depth, in the test as well."""

from mmengine.config import read_base

with read_base():
    from .caddn_world_kitti import *

test_dataloader["dataset"].update(pipeline=test_with_lidar)
model = assistant_detector
