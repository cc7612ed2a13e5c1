# SPDX-License-Identifier: Apache-2.0
"""X-Ray's task: cars within 29 m, embedded world in nuScenes' layout."""

from mmengine.config import read_base

with read_base():
    from .detection_world_nuscenes import *

max_iters = 800
classes = ("car",)
point_range = (-28.8, -28.8, -5.0, 28.8, 28.8, 3.0)
for step in (pack_train[0], pack_train[1], pack_test[0]):
    step.update(point_cloud_range=point_range)
pack_train[2].update(classes=classes)
train_dataloader["dataset"]["dataset"].update(
    metainfo=dict(classes=classes), pipeline=[*load_points, *load_boxes, *augment, *pack_train]
)
test_dataloader["dataset"].update(
    metainfo=dict(classes=classes), pipeline=[*load_points, *pack_test]
)
train_cfg.update(max_iters=max_iters)
param_scheduler[1].update(end=max_iters, T_max=max_iters)
