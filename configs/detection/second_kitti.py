# SPDX-License-Identifier: Apache-2.0
"""SECOND as mmdet3d ships it, KITTI: 80 epochs of 3,712 frames; its rate and its clip, too."""

from mmengine.config import read_base

with read_base():
    from .._base_.detection_kitti import *
    from .._base_.detection_schedule import *
    from .._base_.runtime import *

from lidistill.models.detectors.mmdet3d import mmdet3d_detector

model = dict(
    type=mmdet3d_detector,
    config="mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py",
)
max_iters = 80 * 3712 // 6
train_cfg.update(max_iters=max_iters)
param_scheduler[1].update(end=max_iters, T_max=max_iters)
optim_wrapper["optimizer"].update(lr=1.8e-3)
optim_wrapper["clip_grad"].update(max_norm=10)
