# SPDX-License-Identifier: Apache-2.0
"""X-Ray's task for CenterPoint on SECOND's encoder: voxels of 0.3 m, a 48 x 48 map."""

from mmengine.config import read_base

with read_base():
    from .._base_.cars_world import *
    from .._base_.centerpoint_voxel_world import *

detector_range = point_range
detector.update(point_range=detector_range, voxel_size=(0.3, 0.3, 0.4))
detector["changes"]["pts_middle_encoder"].update(
    output_channels=32,
    encoder_channels=((8, 16), (16, 32), (32, 32)),
    encoder_paddings=((0, 1), (0, [0, 1, 1]), (0, 0)),
)
detector["changes"]["pts_backbone"].update(in_channels=64)
detector["changes"]["pts_bbox_head"].update(tasks=[dict(num_class=1, class_names=["car"])])
model = detector
