# SPDX-License-Identifier: Apache-2.0
"""BEV detectors of LiDAR, cameras and both at the embedded world's size: a 64 x 64 map.

Same head and widths whatever the sensors, so that each can teach each.
"""

from mmengine.config import read_base

with read_base():
    from .centerpoint_voxel_world import detector

from lidistill.models.detectors.bev import BEVDetector
from lidistill.models.detectors.bev_fusers import GatedFuser
from lidistill.models.view_transforms.lift_splat import LiftSplat

bev_range = (-38.4, -38.4, -5.0, 38.4, 38.4, 3.0)
bev_channels = 64  # of the map before the BEV network
image_size = (96, 256)  # rows, columns
image_stride = 8
changes = dict(detector["changes"])
changes["pts_middle_encoder"] = dict(changes["pts_middle_encoder"], output_channels=32)
changes["pts_backbone"] = dict(changes["pts_backbone"], in_channels=bev_channels)
camera = dict(
    backbone=dict(
        type="mmdet.ResNet",
        depth=18,
        base_channels=16,
        out_indices=(1, 2, 3),
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=False,
    ),
    neck=dict(type="mmdet.FPN", in_channels=[32, 64, 128], out_channels=64, num_outs=3),
    view_transform=dict(
        type=LiftSplat,
        in_channels=64,
        out_channels=bev_channels,
        depths=(1.0, 55.0, 1.0),  # 54 bins; the map's corner is 54 m away
        depth_weight=1.0,
    ),
)
lidar_detector = dict(
    type=BEVDetector,
    config=detector["config"],
    point_range=bev_range,
    voxel_size=(0.15, 0.15, 0.2),
    sensors=("lidar",),
    changes=changes,
)
camera_detector = dict(lidar_detector, sensors=("camera",), camera=camera)
fusion_detector = dict(
    lidar_detector,
    sensors=("lidar", "camera"),
    camera=camera,
    fuser=dict(type=GatedFuser, in_channels=[bev_channels] * 2, out_channels=bev_channels),
)
