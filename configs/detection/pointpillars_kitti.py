# SPDX-License-Identifier: Apache-2.0
"""PointPillars as mmdet3d ships it, KITTI: 160 epochs of 3,712 frames."""

from mmengine.config import read_base

with read_base():
    from .._base_.detection_kitti import *
    from .._base_.detection_schedule import *
    from .._base_.runtime import *

from lidistill.models.detectors.mmdet3d import mmdet3d_detector

model = dict(
    type=mmdet3d_detector,
    config="mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py",
)
point_range = (0.0, -39.68, -3.0, 69.12, 39.68, 1.0)
for step in (pack_train[0], pack_train[1], pack_test[0]):
    step.update(point_cloud_range=point_range)
train_dataloader["dataset"]["dataset"].update(
    pipeline=[*load_points, *load_boxes, *augment, *pack_train]
)
test_dataloader["dataset"].update(pipeline=[*load_points, *pack_test])
max_iters = 160 * 3712 // 6
train_cfg.update(max_iters=max_iters)
param_scheduler[1].update(end=max_iters, T_max=max_iters)
