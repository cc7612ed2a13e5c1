# SPDX-License-Identifier: Apache-2.0
"""PointRCNN, embedded world in KITTI's layout."""

from mmengine.config import read_base

with read_base():
    from .._base_.detection_world_kitti import *
    from .._base_.pointrcnn_world import *

from mmdet3d.datasets.transforms import PointSample

model = detector
classes = ("Car", "Pedestrian", "Cyclist")  # in the order of mmdet3d's mean sizes
draw = dict(type=PointSample, num_points=scan_points, sample_range=20.0)
train_dataloader["dataset"]["dataset"].update(
    metainfo=dict(classes=classes),
    pipeline=[*load_points, *load_boxes, *augment, *pack_train[:2], draw, *pack_train[2:]],
)
test_dataloader["dataset"].update(
    metainfo=dict(classes=classes),
    pipeline=[*load_points, pack_test[0], draw, *pack_test[1:]],
)
