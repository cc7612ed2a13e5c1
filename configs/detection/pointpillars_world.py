# SPDX-License-Identifier: Apache-2.0
"""PointPillars, embedded world in KITTI's layout."""

from mmengine.config import read_base

with read_base():
    from .._base_.detection_world_kitti import *

from lidistill.models.detectors.mmdet3d import mmdet3d_detector

width = 32
model = dict(
    type=mmdet3d_detector,
    config="mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py",
    point_range=point_range,
    voxel_size=(0.32, 0.32, 4.0),
    changes=dict(
        voxel_encoder=dict(feat_channels=[width]),
        middle_encoder=dict(in_channels=width),
        backbone=dict(
            in_channels=width,
            out_channels=[width, 2 * width, 4 * width],
            layer_nums=[1, 2, 2],
        ),
        neck=dict(in_channels=[width, 2 * width, 4 * width], out_channels=[width] * 3),
        bbox_head=dict(in_channels=3 * width, feat_channels=3 * width),
    ),
)
