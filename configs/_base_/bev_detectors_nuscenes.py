# SPDX-License-Identifier: Apache-2.0
"""BEV detectors at UniDistill's size: 0.075 m voxels, six images of 256 x 704, a 180 x 180 map.

Sizes: UniDistill (2303.15083) and its release: 256 channels before the BEV network, 512 behind it,
ResNet-50 to 512 channels at stride 16, 112 depth bins of 0.5 m from 2 m on, six tasks.
Differs from the authors' release: CenterPoint's targets and head without the IoU branch, as mmdet3d
has them; no depth supervision is UniDistill's, ``depth_weight`` switches BEVDepth's on. The ResNet
begins with random weights, so all of it is trained; theirs with ImageNet's, its stem frozen: local
weights by ``init_cfg=dict(type="Pretrained", checkpoint=FILE)`` and ``frozen_stages=0`` of
``camera["backbone"]`` (``--cfg-options model.student.camera.backbone.init_cfg=...``).
"""

from mmdet3d.models.necks import SECONDFPN

from lidistill.models.detectors.bev import BEVDetector
from lidistill.models.detectors.bev_fusers import GatedFuser
from lidistill.models.view_transforms.lift_splat import LiftSplat

bev_channels = 256
camera = dict(
    backbone=dict(
        type="mmdet.ResNet",
        depth=50,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=False,
        with_cp=True,
    ),
    neck=dict(
        type=SECONDFPN,
        in_channels=[256, 512, 1024, 2048],
        out_channels=[128, 128, 128, 128],
        upsample_strides=[0.25, 0.5, 1, 2],
    ),
    view_transform=dict(
        type=LiftSplat,
        in_channels=512,
        out_channels=bev_channels,
        depths=(2.0, 58.0, 0.5),
    ),
)
lidar_detector = dict(
    type=BEVDetector,
    config="mmdet3d::centerpoint/centerpoint_voxel0075_second_secfpn_8xb4-cyclic-20e_nus-3d.py",
    point_range=(-54.0, -54.0, -5.0, 54.0, 54.0, 3.0),
    voxel_size=(0.075, 0.075, 0.2),
    sensors=("lidar",),
)
camera_detector = dict(lidar_detector, sensors=("camera",), camera=camera)
fusion_detector = dict(
    lidar_detector,
    sensors=("lidar", "camera"),
    camera=camera,
    fuser=dict(type=GatedFuser, in_channels=[bev_channels] * 2, out_channels=bev_channels),
)
