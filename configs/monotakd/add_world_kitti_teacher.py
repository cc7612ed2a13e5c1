# SPDX-License-Identifier: Apache-2.0
"""ADD's teacher: the camera's network, told the depth of each object. It has no test: in one,
nothing knows the objects."""

from mmengine.config import read_base

with read_base():
    from .caddn_world_kitti import *

from lidistill.datasets.bev.privileged import ObjectDepths

object_depths = dict(type=ObjectDepths, stride=image_stride)
labelled = ("gt_bboxes_3d", "gt_labels_3d")
pack.update(keys=("points", "img", "depth", "object_depth", *labelled))
train_pipeline = [
    *(*load_points, load_cameras, augment_images, depth_targets, *load_boxes, flip),
    *(object_depths, points_in_range, boxes_in_range, shuffle, pack),
]
train_dataloader["dataset"]["dataset"].update(pipeline=train_pipeline)
teacher_detector = dict(
    camera_detector, camera=dict(camera, view_transform=true_depth, depth="object_depth")
)
model = teacher_detector
