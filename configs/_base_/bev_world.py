# SPDX-License-Identifier: Apache-2.0
"""The embedded world in nuScenes' layout for BEV detectors: images of 96 x 256, single sweeps."""

from mmengine.config import read_base

with read_base():
    from .bev_nuscenes import *
    from .detection_world import *

data_root = "data/world/nuscenes"
point_range = (-38.4, -38.4, -5.0, 38.4, 38.4, 3.0)
load_keyframe.update(use_dim=[0, 1, 2, 3])
augment_images.update(size=(96, 256), resize=(0.64, 0.75), resize_width=400, rotate=0.0)
test_images.update(size=(96, 256))
depth_targets.update(stride=8)
augment_bev.update(rotate=22.5, scale=(0.95, 1.05), shift=(0.0, 0.0, 0.0))
points_in_range.update(point_cloud_range=point_range)
boxes_in_range.update(point_cloud_range=point_range)
train_pipeline = [
    *(load_keyframe, load_cameras, augment_images, depth_targets, *load_boxes),
    *(augment_bev, points_in_range, boxes_in_range, named_boxes, shuffle, pack),
]
test_pipeline = [
    *(load_keyframe, load_cameras, test_images, depth_targets, points_in_range, pack_inputs)
]
train_dataloader.update(batch_size=batch_size, num_workers=0, persistent_workers=False)
train_dataloader["dataset"]["dataset"].update(data_root=data_root, pipeline=train_pipeline)
test_dataloader.update(num_workers=0)
test_dataloader["dataset"].update(data_root=data_root, pipeline=test_pipeline)
test_evaluator.update(ann_file=f"{data_root}/lidistill_infos_val.pkl", data_root=data_root)
