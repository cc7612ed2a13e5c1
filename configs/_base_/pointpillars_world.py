# SPDX-License-Identifier: Apache-2.0
"""mmdet3d's PointPillars at the embedded world's size: 0.32 m pillars, 64 x 64 map."""

from lidistill.models.detectors.mmdet3d import mmdet3d_detector

detector_range = (0.0, -20.48, -3.0, 40.96, 20.48, 1.0)
detector_voxel = (0.32, 0.32, 4.0)
width = 32
detector = dict(
    type=mmdet3d_detector,
    config="mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py",
    point_range=detector_range,
    voxel_size=detector_voxel,
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
