# SPDX-License-Identifier: Apache-2.0
"""SLidR on the sparse encoder of mmdet3d's SECOND; all else as for VoxelNet.

The map has 128 channels in each of two slices, which a linear head brings to 64; VoxelNet has an
output layer of its own for that.
"""

from mmengine.config import read_base

with read_base():
    from .voxelnet_r50_nuscenes import *

from lidistill.models.backbones.mmdet3d_encoders import SparseEncoderMap
from lidistill.models.detectors.mmdet3d import detector_part

detector = dict(
    config="mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py",
    point_range=(-51.2, -51.2, -5.0, 51.2, 51.2, 3.0),
    voxel_size=(0.1, 0.1, 0.2),
)
encoder = dict(type=detector_part, detector=detector, part="middle_encoder")
model["student"] = dict(type=BEVAtVoxels, encoder=dict(type=SparseEncoderMap, encoder=encoder))
model["point_head"] = dict(type=Linear, in_features=256, out_features=64)
