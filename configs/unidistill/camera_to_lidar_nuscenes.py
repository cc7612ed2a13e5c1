# SPDX-License-Identifier: Apache-2.0
"""UniDistill on nuScenes: a detector of LiDAR learns from one of cameras.

Weights are the paper's, section 4.1; adapters, as the teacher is the weaker one.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.bev_detectors_nuscenes import *
    from .._base_.bev_nuscenes import *
    from .._base_.detection_schedule import *
    from .._base_.runtime import *

from lidistill.distill.connectors import Conv3x3
from lidistill.methods import UniDistill

max_iters = 20 * 28130 // 4  # 20 epochs, as the paper
model = dict(
    type=UniDistill,
    student=lidar_detector,
    teacher=dict(
        model=camera_detector, checkpoint=f"work_dirs/bev_camera_nuscenes/iter_{max_iters}.pth"
    ),
    adapters=dict(
        low=dict(type=Conv3x3, in_channels=bev_channels, out_channels=bev_channels),
        high=dict(type=Conv3x3, in_channels=512, out_channels=512),  # of the neck
    ),
    weights=dict(feature=10.0, relation=5.0, response=1.0),
)
train_cfg.update(max_iters=max_iters)
param_scheduler[1].update(end=max_iters, T_max=max_iters)
