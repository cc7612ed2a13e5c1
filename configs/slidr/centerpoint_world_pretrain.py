# SPDX-License-Identifier: Apache-2.0
"""SLidR on the very pillars, backbone and neck of the embedded world's CenterPoint."""

from mmengine.config import read_base

with read_base():
    from .._base_.centerpoint_pillar_world import *
    from .demo_pretrain import *

from lidistill.models.backbones.mmdet3d_encoders import PillarsAtVoxels
from lidistill.models.detectors.mmdet3d import detector_part

voxelize = dict(
    type=Voxelize,
    voxels=dict(type=CartesianVoxels, size=detector_voxel, point_range=detector_range),
    features=("x", "y", "z", "intensity"),
    reduce="mean",
)
train_pipeline = [*train_pipeline[:-2], voxelize, train_pipeline[-1]]  # ..., Voxelize, PackPairs
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
)
model["student_inputs"] = (
    "points",
    "point_to_voxel",
    "voxel_coords",
    "spatial_shape",
    "batch_size",
)
model["point_head"] = dict(type=Linear, in_features=3 * width, out_features=embedding)
