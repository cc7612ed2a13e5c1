# SPDX-License-Identifier: Apache-2.0
"""BEV detector of cameras at UniDistill's size, nuScenes: 20 epochs, steps as in its paper."""

from mmengine.config import read_base

with read_base():
    from .._base_.bev_detectors_nuscenes import *
    from .._base_.bev_nuscenes import *
    from .._base_.detection_schedule import *
    from .._base_.runtime import *

model = camera_detector
max_iters = 20 * 28130 // 4
train_cfg.update(max_iters=max_iters)
param_scheduler[1].update(end=max_iters, T_max=max_iters)
