# SPDX-License-Identifier: Apache-2.0
"""PointDistiller as published: SECOND on KITTI, 4x fewer parameters; N 256, K 128 in both stages.

The release's arithmetic, without weights of BEV cells: ``--cfg-options model.compat=True``.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.detection_kitti import *
    from .._base_.detection_schedule import *
    from .._base_.runtime import *

from lidistill.methods import PointDistiller
from lidistill.models.detectors.compress import compressed_detector
from lidistill.models.detectors.mmdet3d import mmdet3d_detector

shipped = "mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py"
checkpoint = "data/hv_second_secfpn_6x8_80e_kitti-3d-3class.pth"  # mmdet3d's model zoo
model = dict(
    type=PointDistiller,
    student=dict(type=compressed_detector, config=shipped, encoder=0.5, backbone=0.5, head=0.5),
    teacher=dict(model=dict(type=mmdet3d_detector, config=shipped), checkpoint=checkpoint),
    graphs=dict(
        stage1=dict(tap="backbone[0]", channels=(64, 128), width=32, queries=256, neighbours=128),
        stage2=dict(tap="backbone[1]", channels=(128, 256), width=32, queries=256, neighbours=128),
    ),
)
max_iters = 80 * 3712 // 6  # epochs, frames, batch
train_cfg.update(max_iters=max_iters)
optim_wrapper["optimizer"].update(lr=1.8e-3)
optim_wrapper["clip_grad"].update(max_norm=10)
param_scheduler[1].update(end=max_iters, T_max=max_iters)
