# SPDX-License-Identifier: Apache-2.0
"""SLidR on the sparse encoder of mmdet3d's CenterPoint (0.1 m voxels); all else as for VoxelNet.

CenterPoint's fifth input is the time of a point before the keyframe; a keyframe alone has zeros.
"""

from mmengine.config import read_base

with read_base():
    from .voxelnet_r50_nuscenes import *

from lidistill.models.backbones.mmdet3d_encoders import SparseEncoderMap
from lidistill.models.detectors.mmdet3d import detector_part

shipped = "mmdet3d::centerpoint/centerpoint_voxel01_second_secfpn_8xb4-cyclic-20e_nus-3d.py"
encoder = dict(type=detector_part, detector=dict(config=shipped), part="pts_middle_encoder")
model["student"] = dict(
    type=BEVAtVoxels, encoder=dict(type=SparseEncoderMap, encoder=encoder, pad_channels=1)
)
model["point_head"] = dict(type=Linear, in_features=256, out_features=64)
