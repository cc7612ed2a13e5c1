# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning of a linear backbone on the smallest data set: two epochs of three frames."""

from mmengine.config import read_base

with read_base():
    from ...configs._base_.nuscenes_labels import *
    from ...configs._base_.runtime import *

from mmengine.optim import CosineAnnealingLR, OptimWrapper
from torch.nn import Linear
from torch.optim import SGD

from lidistill.engine.loops.epochs import EpochCheckpointHook, ResumableEpochLoop
from lidistill.engine.loops.finetuning import SegmentationTestLoop, SegmentationValLoop
from lidistill.evaluation.segmentor import Segmentor
from lidistill.geometry.voxels import CartesianVoxels

data_root = "data/mini"
voxelize = dict(
    type=Voxelize,
    voxels=dict(type=CartesianVoxels, size=(1, 1, 1), point_range=(-16, -16, -4, 16, 16, 4)),
    features=("x", "y", "z", "intensity"),
    intensity_scale=0.01,
)
train_pipeline = [dict(type=LoadPoints), *labels, dict(type=RotateFlipPoints), voxelize]
val_pipeline = [dict(type=LoadPoints), *labels, voxelize]
train_dataloader.update(batch_size=1, num_workers=0, persistent_workers=False)
train_dataloader["dataset"].update(
    data_root=data_root, ann_file="infos.pkl", pipeline=train_pipeline
)
for loader in (val_dataloader, test_dataloader):
    loader.update(num_workers=0)
    loader["dataset"].update(data_root=data_root, ann_file="infos.pkl", pipeline=val_pipeline)
model = dict(
    type=Segmentor,
    backbone=dict(type=Linear, in_features=4, out_features=8),
    feature_channels=8,
    inputs=("voxel_features",),
    num_classes=num_classes,
    checkpoint="stage://pretrain",
)
train_cfg = dict(type=ResumableEpochLoop, max_epochs=2)
optim_wrapper = dict(
    type=OptimWrapper,
    optimizer=dict(type=SGD, lr=0.02, momentum=0.9),
    paramwise_cfg=dict(custom_keys={"head.": dict(lr_mult=100)}),
)
param_scheduler = [dict(type=CosineAnnealingLR, by_epoch=False, begin=0)]
default_hooks["checkpoint"] = dict(type=EpochCheckpointHook)
val_cfg = dict(type=SegmentationValLoop)
test_cfg = dict(type=SegmentationTestLoop)
