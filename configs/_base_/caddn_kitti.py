# SPDX-License-Identifier: Apache-2.0
"""CMKD's and MonoTAKD's detectors for KITTI: SECOND's network and anchors on a 188 x 140 map.

Camera: ResNet-50 of stride 8, 120 depth bins, 140 x 188 x 10 voxels of 0.32 x 0.32 x 0.4 m. LiDAR:
voxels of 0.04 x 0.04 x 0.1 m. The ResNet begins with random weights; theirs were trained on COCO:
``init_cfg=dict(type="Pretrained", checkpoint=FILE)`` of ``camera["backbone"]`` reads local ones.
"""

from lidistill.models.bev_blocks.alignment import TwoBranches
from lidistill.models.detectors.bev import BEVDetector
from lidistill.models.view_transforms.frustum_voxels import FrustumVoxels

bev_channels = 128  # of the map before the BEV network
lidar_detector = dict(
    type=BEVDetector,
    config="mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py",
    point_range=(2.0, -30.08, -3.0, 46.8, 30.08, 1.0),
    voxel_size=(0.04, 0.04, 0.1),
    changes=dict(
        data_preprocessor=dict(pad_size_divisor=8),
        middle_encoder=dict(output_channels=64),  # of two heights: bev_channels
    ),
)
camera = dict(
    backbone=dict(
        type="mmdet.ResNet",
        depth=50,
        num_stages=3,
        strides=(1, 2, 1),
        dilations=(1, 1, 2),  # the third stage keeps stride 8, as in DeepLab
        out_indices=(2,),
        norm_eval=False,
    ),
    view_transform=dict(
        type=FrustumVoxels,
        in_channels=1024,
        out_channels=bev_channels,
        voxels=(10, 64),
        scale=dict(mode="LID", low=2.0, high=46.8, count=120),
        depth_weight=0.5,  # CMKD's; CaDDN's is 3 with objects weighed 13
    ),
)
camera_detector = dict(lidar_detector, sensors=("camera",), camera=camera)
guessed = camera["view_transform"]
true_depth = dict(guessed, true_depth=True, depth_weight=0.0)
assistant_detector = dict(camera_detector, camera=dict(camera, view_transform=true_depth))
branches = dict(type=TwoBranches, channels=bev_channels, blocks=4)
student_detector = dict(camera_detector, camera=dict(camera, branches=branches))
