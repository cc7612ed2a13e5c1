# SPDX-License-Identifier: Apache-2.0
"""The detectors of ``caddn_kitti`` at the embedded world's size: 48 x 64 map, 96 x 320 images."""

from mmengine.config import read_base

with read_base():
    from .caddn_kitti import *

bev_channels = 32
lidar_detector.update(
    config="mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-car.py",
    point_range=(0.0, -15.36, -3.0, 40.96, 15.36, 1.0),
    voxel_size=(0.08, 0.08, 0.1),
    changes=dict(
        middle_encoder=dict(
            base_channels=8,
            output_channels=16,
            encoder_channels=((8,), (16, 16, 16), (32, 32, 32), (32, 32, 32)),
        ),
        backbone=dict(out_channels=[32, 64], layer_nums=[2, 2]),
        neck=dict(in_channels=[32, 64], out_channels=[48, 48]),
        bbox_head=dict(in_channels=96, feat_channels=96),
    ),
)
camera = dict(
    backbone=dict(
        type="mmdet.ResNet",
        depth=18,
        base_channels=16,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(0, 1, 2),
        norm_eval=False,
    ),
    neck=dict(type="mmdet.FPN", in_channels=[16, 32, 64], out_channels=32, num_outs=3),
    view_transform=dict(
        guessed,
        in_channels=32,
        out_channels=bev_channels,
        voxels=(8, 16),
        scale=dict(mode="LID", low=1.0, high=41.0, count=40),
        depth_weight=1.0,
    ),
)
camera_detector = dict(lidar_detector, sensors=("camera",), camera=camera)
guessed = camera["view_transform"]
true_depth = dict(guessed, true_depth=True, depth_weight=0.0)
assistant_detector = dict(camera_detector, camera=dict(camera, view_transform=true_depth))
branches = dict(type=TwoBranches, channels=bev_channels, blocks=1)
student_detector = dict(camera_detector, camera=dict(camera, branches=branches))
