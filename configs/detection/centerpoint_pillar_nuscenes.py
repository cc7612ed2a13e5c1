# SPDX-License-Identifier: Apache-2.0
"""CenterPoint on 0.2 m pillars as mmdet3d ships it, nuScenes: 20 epochs of 28,130 keyframes."""

from mmengine.config import read_base

with read_base():
    from .._base_.detection_nuscenes import *
    from .._base_.detection_schedule import *
    from .._base_.runtime import *

from lidistill.models.detectors.mmdet3d import mmdet3d_detector

model = dict(
    type=mmdet3d_detector,
    config="mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d.py",
)
max_iters = 20 * 28130 // 4
train_cfg.update(max_iters=max_iters)
param_scheduler[1].update(end=max_iters, T_max=max_iters)
