# SPDX-License-Identifier: Apache-2.0
"""CMKD on the embedded world: cameras learn from LiDAR directly, no assistant.

Weights are those of CMKD's release: 32 of the maps, 2 of the response.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.bev_detectors_world import *
    from .._base_.bev_world import *

from lidistill.methods import MonoTAKD

model = dict(
    type=MonoTAKD,
    student=camera_detector,
    teachers=dict(
        teacher=dict(
            model=lidar_detector, checkpoint=f"work_dirs/bev_lidar_world/iter_{max_iters}.pth"
        )
    ),
    vis="bev_low",
)
