# SPDX-License-Identifier: Apache-2.0
"""mmdet3d's CenterPoint on pillars at the embedded world's size: 0.6 m cells, 64 x 64 map."""

from lidistill.models.detectors.mmdet3d import mmdet3d_detector

detector_range = (-38.4, -38.4, -5.0, 38.4, 38.4, 3.0)
detector_voxel = (0.6, 0.6, 8.0)
width = 32
detector = dict(
    type=mmdet3d_detector,
    config="mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d.py",
    point_range=detector_range,
    voxel_size=detector_voxel,
    changes=dict(
        data_preprocessor=dict(voxel_layer=dict(max_voxels=(8000, 8000))),
        pts_voxel_encoder=dict(in_channels=4, feat_channels=[width]),
        pts_middle_encoder=dict(in_channels=width),
        pts_backbone=dict(
            in_channels=width,
            out_channels=[width, 2 * width, 4 * width],
            layer_nums=[1, 2, 2],
        ),
        pts_neck=dict(
            in_channels=[width, 2 * width, 4 * width],
            out_channels=[width] * 3,
            upsample_strides=[1, 2, 4],
        ),
        pts_bbox_head=dict(
            in_channels=3 * width,
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
            bbox_coder=dict(out_size_factor=2),
        ),
        train_cfg=dict(pts=dict(out_size_factor=2)),
        test_cfg=dict(pts=dict(out_size_factor=2)),
    ),
)
