# SPDX-License-Identifier: Apache-2.0
"""SLidR on the pillars of mmdet3d's CenterPoint (0.2 m): feature net, scatter, backbone and neck.

All else as for VoxelNet.
"""

from mmengine.config import read_base

with read_base():
    from .voxelnet_r50_nuscenes import *

from lidistill.models.backbones.mmdet3d_encoders import PillarsAtVoxels
from lidistill.models.detectors.mmdet3d import detector_part

detector = dict(
    config="mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d.py"
)
voxelize = dict(
    type=Voxelize,
    voxels=dict(
        type=CartesianVoxels,
        size=(0.2, 0.2, 8.0),
        point_range=(-51.2, -51.2, -5.0, 51.2, 51.2, 3.0),
    ),
    features=("x", "y", "z", "intensity"),
    reduce="mean",
)
train_pipeline = [*train_pipeline[:-2], voxelize, train_pipeline[-1]]
probe_pipeline = [*probe_pipeline[:-1], voxelize]
train_dataloader["dataset"].update(pipeline=train_pipeline)
for loader in (probe_train_dataloader, test_dataloader):
    loader["dataset"].update(pipeline=probe_pipeline)
model["student"] = dict(
    type=PillarsAtVoxels,
    voxel_encoder=dict(type=detector_part, detector=detector, part="pts_voxel_encoder"),
    middle_encoder=dict(type=detector_part, detector=detector, part="pts_middle_encoder"),
    backbone=dict(type=detector_part, detector=detector, part="pts_backbone"),
    neck=dict(type=detector_part, detector=detector, part="pts_neck"),
    pad_channels=1,  # the time of a point before the keyframe
)
model["student_inputs"] = (
    "points",
    "point_to_voxel",
    "voxel_coords",
    "spatial_shape",
    "batch_size",
)
model["point_head"] = dict(type=Linear, in_features=384, out_features=64)
