# SPDX-License-Identifier: Apache-2.0
"""UniDistill's four paths in one table: ten classes within 29 m, embedded world.

``model`` is one of ``detectors`` or of ``paths``; the table says which. Voxels are twice as wide
as in the world's configs and their encoder has a stage less, so that the map is the same.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.bev_detectors_world import *
    from .._base_.bev_world import *

from lidistill.distill.connectors import Conv3x3
from lidistill.methods import UniDistill

point_range = (-28.8, -28.8, -5.0, 28.8, 28.8, 3.0)
for step in (points_in_range, boxes_in_range):
    step.update(point_cloud_range=point_range)
train_pipeline = [
    *(load_keyframe, load_cameras, augment_images, depth_targets, *load_boxes),
    *(augment_bev, points_in_range, boxes_in_range, named_boxes, shuffle, pack),
]
test_pipeline = [
    *(load_keyframe, load_cameras, test_images, depth_targets, points_in_range, pack_inputs)
]
train_dataloader["dataset"]["dataset"].update(pipeline=train_pipeline)
test_dataloader["dataset"].update(pipeline=test_pipeline)
encoder = dict(
    encoder_channels=((8, 16), (16, 32), (32, 32)),
    encoder_paddings=((0, 1), (0, [0, 1, 1]), (0, 0)),
)
detectors = dict(lidar=lidar_detector, camera=camera_detector, fusion=fusion_detector)
for detector in detectors.values():
    detector.update(point_range=point_range, voxel_size=(0.3, 0.3, 0.4))
    detector["changes"]["pts_middle_encoder"].update(encoder)
    if "camera" in detector:
        detector["camera"]["view_transform"].update(depths=(1.0, 42.0, 1.0))
model = detectors["lidar"]
paths = dict(
    lidar_to_camera=dict(
        type=UniDistill,
        student=camera_detector,
        teacher=dict(model=lidar_detector, checkpoint="work_dirs/lidar.pth"),
        weights=dict(feature=100.0, relation=40.0, response=10.0),
    ),
    camera_to_lidar=dict(
        type=UniDistill,
        student=lidar_detector,
        teacher=dict(model=camera_detector, checkpoint="work_dirs/camera.pth"),
        adapters=dict(
            low=dict(type=Conv3x3, in_channels=bev_channels, out_channels=bev_channels),
            high=dict(type=Conv3x3, in_channels=96, out_channels=96),
        ),
        weights=dict(feature=10.0, relation=5.0, response=1.0),
    ),
    fusion_to_lidar=dict(
        type=UniDistill,
        student=lidar_detector,
        teacher=dict(model=fusion_detector, checkpoint="work_dirs/fusion.pth"),
        weights=dict(feature=10.0, relation=1.0, response=10.0),
    ),
    fusion_to_camera=dict(
        type=UniDistill,
        student=camera_detector,
        teacher=dict(model=fusion_detector, checkpoint="work_dirs/fusion.pth"),
        weights=dict(feature=10.0, relation=5.0, response=10.0),
    ),
)
