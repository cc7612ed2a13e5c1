# SPDX-License-Identifier: Apache-2.0
"""PointDistiller as published: PointPillars on KITTI, 4x fewer parameters.

Numbers: paper, section 4.1, and the authors' code: N 6000, K 128, 32 channels of the graph layers.
Theirs is a schedule of 160 epochs at batch 6, AdamW, 1e-3, cyclic; here warm-up and cosine.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.detection_kitti import *
    from .._base_.detection_schedule import *
    from .._base_.runtime import *

from lidistill.methods import PointDistiller
from lidistill.models.detectors.compress import compressed_detector
from lidistill.models.detectors.mmdet3d import mmdet3d_detector

shipped = "mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py"
checkpoint = "data/hv_pointpillars_secfpn_6x8_160e_kitti-3d-3class.pth"  # mmdet3d's model zoo
model = dict(
    type=PointDistiller,
    student=dict(type=compressed_detector, config=shipped, encoder=0.5, backbone=0.5, head=0.5),
    teacher=dict(model=dict(type=mmdet3d_detector, config=shipped), checkpoint=checkpoint),
    graphs=dict(
        pillars=dict(tap="voxel_encoder", channels=(32, 64), width=32, queries=6000, neighbours=128)
    ),
)
max_iters = 160 * 3712 // 6  # epochs, frames, batch
train_cfg.update(max_iters=max_iters)
param_scheduler[1].update(end=max_iters, T_max=max_iters)
for step in (pack_train[0], pack_train[1], pack_test[0]):
    step.update(point_cloud_range=(0, -39.68, -3, 69.12, 39.68, 1))
train_dataloader["dataset"]["dataset"].update(
    pipeline=[*load_points, *load_boxes, *augment, *pack_train]
)
test_dataloader["dataset"].update(pipeline=[*load_points, *pack_test])
