# SPDX-License-Identifier: Apache-2.0
"""UniDistill on the embedded world: a detector of cameras learns from one of LiDAR.

Weights are the paper's, section 4.1.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.bev_detectors_world import *
    from .._base_.bev_world import *

from lidistill.methods import UniDistill

model = dict(
    type=UniDistill,
    student=camera_detector,
    teacher=dict(
        model=lidar_detector, checkpoint=f"work_dirs/bev_lidar_world/iter_{max_iters}.pth"
    ),
    weights=dict(feature=100.0, relation=40.0, response=10.0),
)
