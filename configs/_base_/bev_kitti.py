# SPDX-License-Identifier: Apache-2.0
"""KITTI for BEV detectors of its left colour camera: image, depth, points and boxes together.

Mirroring is the only augmentation, as CaDDN's, CMKD's and MonoTAKD's; ``resize`` of
``augment_images`` scales and crops, and matrices follow. Detectors of cameras are tested on
images and calibration alone.
"""

from mmengine.config import read_base

with read_base():
    from .detection_kitti import *

from lidistill.datasets.bev.cameras import AugmentImages, LoadCameras
from lidistill.datasets.bev.depths import DepthTargets
from lidistill.datasets.bev.flip import FlipView
from lidistill.datasets.bev.pack import PackBEV

point_range = (2.0, -30.08, -3.0, 46.8, 30.08, 1.0)
image_size = (376, 1248)  # 47 x 156 cells of 8 pixels; images are 375 x 1242
image_stride = 8
load_cameras = dict(type=LoadCameras, cameras=("CAM2",))
augment_images = dict(type=AugmentImages, size=image_size)
test_images = dict(type=AugmentImages, size=image_size)
depth_targets = dict(type=DepthTargets, stride=image_stride)
flip = dict(type=FlipView)
points_in_range = dict(type=PointsRangeFilter, point_cloud_range=point_range)
boxes_in_range = dict(type=ObjectRangeFilter, point_cloud_range=point_range)
shuffle = dict(type=PointShuffle)
pack = dict(type=PackBEV)
train_pipeline = [
    *(*load_points, load_cameras, augment_images, depth_targets, *load_boxes, flip),
    *(points_in_range, boxes_in_range, shuffle, pack),
]
test_pipeline = [load_cameras, test_images, dict(type=PackBEV, keys=("img",))]
test_with_lidar = [  # of a teacher or an assistant
    *(*load_points, load_cameras, test_images, depth_targets, points_in_range),
    dict(type=PackBEV, keys=("points", "img", "depth")),
]
for loader in (train_dataloader["dataset"], test_dataloader):
    loader["dataset"].update(
        data_prefix=dict(pts="training/velodyne", img="training/image_2"),
        modality=dict(use_lidar=True, use_camera=True),
    )
train_dataloader["dataset"]["dataset"].update(pipeline=train_pipeline)
test_dataloader["dataset"].update(pipeline=test_pipeline)
