# SPDX-License-Identifier: Apache-2.0
"""mmdet3d's SECOND at the embedded world's size: 0.08 m voxels, 64 x 64 map."""

from lidistill.models.detectors.mmdet3d import mmdet3d_detector

detector_range = (0.0, -20.48, -3.0, 40.96, 20.48, 1.0)
detector_voxel = (0.08, 0.08, 0.1)
detector = dict(
    type=mmdet3d_detector,
    config="mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py",
    point_range=detector_range,
    voxel_size=detector_voxel,
    changes=dict(
        middle_encoder=dict(
            base_channels=8,
            output_channels=64,
            encoder_channels=((8,), (16, 16, 16), (32, 32, 32), (32, 32, 32)),
        ),
        backbone=dict(in_channels=128, out_channels=[32, 64], layer_nums=[2, 2]),
        neck=dict(in_channels=[32, 64], out_channels=[48, 48]),
        bbox_head=dict(in_channels=96, feat_channels=96),
    ),
)
