# SPDX-License-Identifier: Apache-2.0
"""The embedded world in KITTI's layout for BEV detectors: cars, images of 96 x 320."""

from mmengine.config import read_base

with read_base():
    from .bev_kitti import *
    from .detection_world import *

data_root = "data/world/kitti"
classes = ("Car",)
point_range = (0.0, -15.36, -3.0, 40.96, 15.36, 1.0)
image_size = (96, 320)
image_stride = 4
for step in (augment_images, test_images):
    step.update(size=image_size)
depth_targets.update(stride=image_stride)
for step in (points_in_range, boxes_in_range):
    step.update(point_cloud_range=point_range)
train_pipeline = [
    *(*load_points, load_cameras, augment_images, depth_targets, *load_boxes, flip),
    *(points_in_range, boxes_in_range, shuffle, pack),
]
test_pipeline = [load_cameras, test_images, dict(type=PackBEV, keys=("img",))]
test_with_lidar = [
    *(*load_points, load_cameras, test_images, depth_targets, points_in_range),
    dict(type=PackBEV, keys=("points", "img", "depth")),
]
train_dataloader.update(batch_size=batch_size, num_workers=0, persistent_workers=False)
train_dataloader["dataset"]["dataset"].update(
    data_root=data_root, metainfo=dict(classes=classes), pipeline=train_pipeline
)
test_dataloader.update(num_workers=0)
test_dataloader["dataset"].update(
    data_root=data_root, metainfo=dict(classes=classes), pipeline=test_pipeline
)
test_evaluator.update(ann_file=f"{data_root}/kitti_infos_val.pkl", overlaps="loose")
