# SPDX-License-Identifier: Apache-2.0
"""PointRCNN as mmdet3d ships it, KITTI: 160 epochs of 3,712 frames, 16,384 points each."""

from mmengine.config import read_base

with read_base():
    from .._base_.detection_kitti import *
    from .._base_.detection_schedule import *
    from .._base_.runtime import *

from mmdet3d.datasets.transforms import PointSample

from lidistill.models.detectors.mmdet3d import mmdet3d_detector

model = dict(
    type=mmdet3d_detector,
    config="mmdet3d::point_rcnn/point-rcnn_8xb2_kitti-3d-3class.py",
)
classes = ("Car", "Pedestrian", "Cyclist")  # in the order of mmdet3d's mean sizes
draw = dict(type=PointSample, num_points=16384, sample_range=40.0)
train_dataloader.update(batch_size=2)
train_dataloader["dataset"]["dataset"].update(
    metainfo=dict(classes=classes),
    pipeline=[*load_points, *load_boxes, *augment, *pack_train[:2], draw, *pack_train[2:]],
)
test_dataloader["dataset"].update(
    metainfo=dict(classes=classes),
    pipeline=[*load_points, pack_test[0], draw, *pack_test[1:]],
)
max_iters = 160 * 3712 // 2
train_cfg.update(max_iters=max_iters)
param_scheduler[1].update(end=max_iters, T_max=max_iters)
