# SPDX-License-Identifier: Apache-2.0
"""PointPillars with a feature pyramid as mmdet3d ships it, nuScenes: 24 epochs of 28,130 keyframes.

0.25 m pillars; ten sweeps, x, y, z and seconds before the keyframe.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.detection_nuscenes import *
    from .._base_.detection_schedule import *
    from .._base_.runtime import *

from lidistill.models.detectors.mmdet3d import mmdet3d_detector

model = dict(
    type=mmdet3d_detector,
    config="mmdet3d::pointpillars/pointpillars_hv_fpn_sbn-all_8xb4-2x_nus-3d.py",
)
point_range = (-50.0, -50.0, -5.0, 50.0, 50.0, 3.0)
load_points[1].update(use_dim=[0, 1, 2, 4])
classes = (  # mmdet3d's order for this detector: a label is an index into these
    "car",
    "truck",
    "trailer",
    "bus",
    "construction_vehicle",
    "bicycle",
    "motorcycle",
    "pedestrian",
    "traffic_cone",
    "barrier",
)
for step in (pack_train[0], pack_train[1], pack_test[0]):
    step.update(point_cloud_range=point_range)
pack_train[2].update(classes=classes)
train_dataloader["dataset"]["dataset"].update(
    metainfo=dict(classes=classes), pipeline=[*load_points, *load_boxes, *augment, *pack_train]
)
test_dataloader["dataset"].update(
    metainfo=dict(classes=classes), pipeline=[*load_points, *pack_test]
)
max_iters = 24 * 28130 // 4
train_cfg.update(max_iters=max_iters)
param_scheduler[1].update(end=max_iters, T_max=max_iters)
