# SPDX-License-Identifier: Apache-2.0
"""SLidR on the pillars, backbone and neck of the plateau tables' CenterPoint."""

from mmengine.config import read_base

with read_base():
    from ..slidr.centerpoint_world_pretrain import *

detector_range = (-28.8, -28.8, -5.0, 28.8, 28.8, 3.0)  # as in centerpoint.py
detector.update(point_range=detector_range)
voxelize["voxels"].update(point_range=detector_range)
train_pipeline = [*train_pipeline[:-2], voxelize, train_pipeline[-1]]  # ..., Voxelize, PackPairs
probe_pipeline = [*probe_pipeline[:-1], voxelize]
train_dataloader["dataset"].update(pipeline=train_pipeline)
for loader in (probe_train_dataloader, test_dataloader):
    loader["dataset"].update(pipeline=probe_pipeline)
for part in ("voxel_encoder", "middle_encoder", "backbone", "neck"):
    model["student"][part].update(detector=detector)
