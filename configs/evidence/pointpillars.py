# SPDX-License-Identifier: Apache-2.0
"""The task of the plateau tables: PointPillars on cars within 31 m, embedded world (KITTI)."""

from mmengine.config import read_base

with read_base():
    from .._base_.detection_world_kitti import *
    from .._base_.pointpillars_world import *

max_iters = 800  # of the teacher
classes = ("Car",)
point_range = detector_range = (0.0, -15.36, -3.0, 30.72, 15.36, 1.0)
for step in (pack_train[0], pack_train[1], pack_test[0]):
    step.update(point_cloud_range=point_range)
train_dataloader["dataset"]["dataset"].update(
    metainfo=dict(classes=classes), pipeline=[*load_points, *load_boxes, *augment, *pack_train]
)
test_dataloader["dataset"].update(
    metainfo=dict(classes=classes), pipeline=[*load_points, *pack_test]
)
train_cfg.update(max_iters=max_iters)
param_scheduler[1].update(end=max_iters, T_max=max_iters)
detector.update(
    config="mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-car.py",
    point_range=detector_range,
)
model = detector
