# SPDX-License-Identifier: Apache-2.0
"""UniDistill on nuScenes: a detector of cameras learns from one of LiDAR and cameras.

Weights are the paper's, section 4.1.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.bev_detectors_nuscenes import *
    from .._base_.bev_nuscenes import *
    from .._base_.detection_schedule import *
    from .._base_.runtime import *

from lidistill.methods import UniDistill

max_iters = 20 * 28130 // 4  # 20 epochs, as the paper
model = dict(
    type=UniDistill,
    student=camera_detector,
    teacher=dict(
        model=fusion_detector, checkpoint=f"work_dirs/bev_fusion_nuscenes/iter_{max_iters}.pth"
    ),
    weights=dict(feature=10.0, relation=5.0, response=10.0),
)
train_cfg.update(max_iters=max_iters)
param_scheduler[1].update(end=max_iters, T_max=max_iters)
