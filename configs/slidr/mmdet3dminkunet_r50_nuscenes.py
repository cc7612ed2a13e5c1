# SPDX-License-Identifier: Apache-2.0
"""SLidR on mmdet3d's MinkUNet backbone (spconv), its default widths; all else as for MinkUNet.

Four voxel features, as mmdet3d's segmentors feed it, on 0.1 m Cartesian voxels.
"""

from mmengine.config import read_base

with read_base():
    from .minkunet_r50_nuscenes import *

from mmdet3d.models.backbones import MinkUNetBackbone

from lidistill.geometry.voxels import CartesianVoxels
from lidistill.models.backbones.mmdet3d_encoders import MinkUNetAtVoxels

voxelize = dict(
    type=Voxelize,
    voxels=dict(
        type=CartesianVoxels,
        size=(0.1, 0.1, 0.1),
        point_range=(-51.2, -51.2, -5.0, 51.2, 51.2, 4.6),
    ),
    features=("x", "y", "z", "intensity"),
)
train_pipeline = [*train_pipeline[:-2], voxelize, train_pipeline[-1]]  # ..., Voxelize, PackPairs
probe_pipeline = [*probe_pipeline[:-1], voxelize]
train_dataloader["dataset"].update(pipeline=train_pipeline)
for loader in (probe_train_dataloader, test_dataloader):
    loader["dataset"].update(pipeline=probe_pipeline)
model["student"] = dict(
    type=MinkUNetAtVoxels,
    backbone=dict(type=MinkUNetBackbone, in_channels=4, sparseconv_backend="spconv"),
)
model["student_inputs"] = ("voxel_features", "voxel_coords")
model["point_head"] = dict(type=Linear, in_features=96, out_features=64)
