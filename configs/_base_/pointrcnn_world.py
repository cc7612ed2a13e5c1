# SPDX-License-Identifier: Apache-2.0
"""mmdet3d's PointRCNN at the embedded world's size: 4096 points a scan, half of the channels."""

from lidistill.models.detectors.mmdet3d import mmdet3d_detector

scan_points = 4096
width = 64  # of a point, behind the feature propagation
detector = dict(
    type=mmdet3d_detector,
    config="mmdet3d::point_rcnn/point-rcnn_8xb2_kitti-3d-3class.py",
    changes=dict(
        backbone=dict(
            num_points=(1024, 256, 64, 16),
            radii=((0.2, 0.8), (0.8, 1.6), (1.6, 3.2), (3.2, 6.4)),  # fewer points: wider balls
            sa_channels=(
                ((8, 8, 16), (16, 16, 32)),
                ((32, 32, 64), (32, 48, 64)),
                ((64, 98, 128), (64, 98, 128)),
                ((128, 128, 256), (128, 192, 256)),
            ),
        ),
        neck=dict(
            fp_channels=((768, 256, 256), (384, 256, 256), (304, 128, 128), (129, width, width))
        ),
        rpn_head=dict(
            pred_layer_cfg=dict(
                in_channels=width, cls_linear_channels=(128, 128), reg_linear_channels=(128, 128)
            )
        ),
        roi_head=dict(
            bbox_roi_extractor=dict(roi_layer=dict(num_sampled_points=128)),
            bbox_head=dict(
                mlp_channels=[width, width],
                num_points=(32, 8, -1),
                radius=(0.4, 0.8, 100),
                sa_channels=((64, 64, 64), (64, 64, 128), (128, 128, 256)),
                pred_layer_cfg=dict(
                    in_channels=256, cls_conv_channels=(128, 128), reg_conv_channels=(128, 128)
                ),
            ),
        ),
        train_cfg=dict(
            rpn=dict(rpn_proposal=dict(nms_pre=2048, nms_post=64)),
            rcnn=dict(sampler=dict(num=32)),
        ),
        test_cfg=dict(rpn=dict(nms_cfg=dict(nms_pre=2048, nms_post=64))),
    ),
)
