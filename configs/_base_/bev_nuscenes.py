# SPDX-License-Identifier: Apache-2.0
"""nuScenes for BEV detectors: six images, LiDAR with nine sweeps, one augmentation for all.

Augmentation as UniDistill's: BEV 45 degrees, 0.9 to 1.1, both mirrors, 0.5 m; images 0.386 to 0.55
and 5.4 degrees.
"""

from mmengine.config import read_base

with read_base():
    from .detection_nuscenes import *

from lidistill.datasets.bev.augment import AugmentBEV
from lidistill.datasets.bev.cameras import AugmentImages, LoadCameras
from lidistill.datasets.bev.depths import DepthTargets
from lidistill.datasets.bev.frames import nuscenes_frames
from lidistill.datasets.bev.pack import PackBEV

point_range = (-54.0, -54.0, -5.0, 54.0, 54.0, 3.0)
image_size = (256, 704)
image_stride = 16
history = 0  # earlier keyframes
prefixes = dict(
    pts="samples/LIDAR_TOP",
    sweeps="sweeps/LIDAR_TOP",
    CAM_FRONT="samples/CAM_FRONT",
    CAM_FRONT_RIGHT="samples/CAM_FRONT_RIGHT",
    CAM_FRONT_LEFT="samples/CAM_FRONT_LEFT",
    CAM_BACK="samples/CAM_BACK",
    CAM_BACK_LEFT="samples/CAM_BACK_LEFT",
    CAM_BACK_RIGHT="samples/CAM_BACK_RIGHT",
)
load_keyframe, load_sweeps = load_points[0], load_points[1]
load_cameras = dict(type=LoadCameras, history=history)
augment_images = dict(
    type=AugmentImages,
    size=image_size,
    resize=(0.386, 0.55),
    resize_width=1600,
    rotate=5.4,
    flip=0.5,
)
test_images = dict(type=AugmentImages, size=image_size)
depth_targets = dict(type=DepthTargets, stride=image_stride)
augment_bev = dict(
    type=AugmentBEV, rotate=45.0, scale=(0.9, 1.1), flip_x=0.5, flip_y=0.5, shift=(0.5, 0.5, 0.5)
)
pack = dict(type=PackBEV)
pack_inputs = dict(type=PackBEV, keys=("points", "img", "depth"))
points_in_range = dict(type=PointsRangeFilter, point_cloud_range=point_range)
boxes_in_range = dict(type=ObjectRangeFilter, point_cloud_range=point_range)
named_boxes = dict(type=ObjectNameFilter, classes=classes)
shuffle = dict(type=PointShuffle)
train_pipeline = [
    *(load_keyframe, load_cameras, augment_images, depth_targets, load_sweeps),
    *(*load_boxes, augment_bev, points_in_range, boxes_in_range, named_boxes, shuffle, pack),
]
test_pipeline = [
    *(load_keyframe, load_cameras, test_images, depth_targets, load_sweeps),
    *(points_in_range, pack_inputs),
]
for loader in (train_dataloader["dataset"], test_dataloader):
    loader["dataset"].update(
        type=nuscenes_frames,
        history=history,
        data_prefix=prefixes,
        modality=dict(use_lidar=True, use_camera=True),
    )
train_dataloader["dataset"]["dataset"].update(pipeline=train_pipeline)
test_dataloader["dataset"].update(pipeline=test_pipeline)
