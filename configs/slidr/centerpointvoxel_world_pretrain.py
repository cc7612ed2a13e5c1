# SPDX-License-Identifier: Apache-2.0
"""SLidR on the very sparse encoder of the embedded world's voxel CenterPoint."""

from mmengine.config import read_base

with read_base():
    from .._base_.centerpoint_voxel_world import *
    from .demo_pretrain import *

from lidistill.models.backbones.bev_reader import BEVAtVoxels
from lidistill.models.backbones.mmdet3d_encoders import SparseEncoderMap
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

encoder = dict(type=detector_part, detector=detector, part="pts_middle_encoder")
model["student"] = dict(type=BEVAtVoxels, encoder=dict(type=SparseEncoderMap, encoder=encoder))
model["point_head"] = dict(type=Linear, in_features=128, out_features=embedding)
