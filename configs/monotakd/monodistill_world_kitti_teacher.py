# SPDX-License-Identifier: Apache-2.0
"""MonoDistill's teacher: the camera's network on an image of the LiDAR's depth."""

from mmengine.config import read_base

with read_base():
    from .caddn_world_kitti import *

from lidistill.datasets.bev.privileged import DepthImages

depth_images = dict(type=DepthImages)
labelled = ("gt_bboxes_3d", "gt_labels_3d")
pack.update(keys=("points", "img", "depth", "depth_image", *labelled))
train_pipeline = [
    *(*load_points, load_cameras, augment_images, depth_targets, *load_boxes, flip),
    *(depth_images, points_in_range, boxes_in_range, shuffle, pack),
]
train_dataloader["dataset"]["dataset"].update(pipeline=train_pipeline)
test_dataloader["dataset"].update(
    pipeline=[
        *(*load_points, load_cameras, test_images, depth_images, points_in_range),
        dict(type=PackBEV, keys=("points", "depth_image")),
    ]
)
teacher_detector = dict(camera_detector, camera=dict(camera, images="depth_image"))
model = teacher_detector
