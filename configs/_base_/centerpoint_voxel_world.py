# SPDX-License-Identifier: Apache-2.0
"""mmdet3d's CenterPoint on voxels at the embedded world's size: 0.15 m voxels, 64 x 64 map."""

from lidistill.models.detectors.mmdet3d import mmdet3d_detector

detector_range = (-38.4, -38.4, -5.0, 38.4, 38.4, 3.0)
detector_voxel = (0.15, 0.15, 0.2)
detector = dict(
    type=mmdet3d_detector,
    config="mmdet3d::centerpoint/centerpoint_voxel01_second_secfpn_8xb4-cyclic-20e_nus-3d.py",
    point_range=detector_range,
    voxel_size=detector_voxel,
    changes=dict(
        data_preprocessor=dict(voxel_layer=dict(max_voxels=(30000, 30000))),
        pts_voxel_encoder=dict(num_features=4),
        pts_middle_encoder=dict(
            in_channels=4,
            base_channels=8,
            output_channels=64,
            encoder_channels=((8, 16), (16, 32), (32, 32), (32,)),
            encoder_paddings=((0, 1), (0, 1), (0, [0, 1, 1]), (0,)),
        ),
        pts_backbone=dict(in_channels=128, out_channels=[32, 64], layer_nums=[2, 2]),
        pts_neck=dict(in_channels=[32, 64], out_channels=[48, 48]),
        pts_bbox_head=dict(
            in_channels=96,
            share_conv_channel=24,
            separate_head=dict(head_conv=24),
            tasks=[  # two in place of six: most of the time would go into the heads
                dict(
                    num_class=5,
                    class_names=["car", "truck", "construction_vehicle", "bus", "trailer"],
                ),
                dict(
                    num_class=5,
                    class_names=["barrier", "motorcycle", "bicycle", "pedestrian", "traffic_cone"],
                ),
            ],
        ),
    ),
)
