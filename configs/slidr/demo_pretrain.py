# SPDX-License-Identifier: Apache-2.0
"""SLidR on the embedded world, sized for two CPU cores: about three minutes.

The teacher is this run's own image network (stage ``image_teacher``), trained without labels. For
real use start from ``minkunet_r50_nuscenes.py`` and give local weights.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.nuscenes_pairs import *
    from .._base_.runtime import *

from mmengine.optim import CosineAnnealingLR, LinearLR, OptimWrapper
from torch.optim import AdamW

from lidistill.distill.connectors import Linear, ProjectionMap
from lidistill.engine.loops.iterations import ResumableTrainLoop
from lidistill.engine.loops.probing import LinearProbeLoop
from lidistill.geometry.voxels import CartesianVoxels
from lidistill.methods import SLidR
from lidistill.models.backbones.sparse_unet import SparseUNet
from lidistill.models.teachers.small import SmallImageNet

data_root = "data/world/nuscenes"
max_iters = 300
embedding = 32

point_range = (-51.2, -51.2, -4.0, 51.2, 51.2, 8.8)
voxelize = dict(
    type=Voxelize,
    voxels=dict(type=CartesianVoxels, size=(0.2, 0.2, 0.2), point_range=point_range),
    features=("intensity", "z"),
    intensity_scale=1 / 20,  # both inputs of order one
)
train_pipeline = [
    dict(type=LoadPoints),
    dict(type=LoadImages),
    dict(type=LoadSuperpixels),
    dict(type=PairPoints),
    dict(type=RotateFlipPoints),
    dict(type=DropCuboid, min_pairs=200),
    dict(type=ResizedCropImages, size=(112, 208), min_pairs=200),
    dict(type=FlipImages),
    voxelize,
    dict(type=PackPairs),
]
probe_pipeline = [dict(type=LoadPoints), dict(type=LoadPointLabels), voxelize]
train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
train_dataloader["dataset"].update(
    data_root=data_root,
    superpixels_dir=f"{data_root}/superpixels/slic_150",
    pipeline=train_pipeline,
)
for loader in (probe_train_dataloader, test_dataloader):
    loader.update(num_workers=0)
    loader["dataset"].update(data_root=data_root, pipeline=probe_pipeline)

planes = (16, 32, 48, 64, 64, 48, 32, 64)
model = dict(
    type=SLidR,
    student=dict(
        type=SparseUNet, in_channels=2, out_channels=0, stem=16, planes=planes, blocks=(1,) * 8
    ),
    teacher=dict(
        model=dict(type=SmallImageNet, width=32, out_channels=64),
        checkpoint="stage://image_teacher",
    ),
    point_head=dict(type=Linear, in_features=64, out_features=embedding),
    image_head=dict(type=ProjectionMap, in_channels=64, out_channels=embedding),
    temperature=0.1,  # 0.07 in the paper; short runs want a softer one (research/embedded_world.md)
)
train_cfg = dict(type=ResumableTrainLoop, max_iters=max_iters)
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=AdamW, lr=3e-3, weight_decay=0.01))
param_scheduler = [
    dict(type=LinearLR, start_factor=0.1, by_epoch=False, begin=0, end=20),
    dict(type=CosineAnnealingLR, by_epoch=False, begin=20, end=max_iters, T_max=max_iters),
]
test_cfg = dict(type=LinearProbeLoop, train_dataloader=probe_train_dataloader)
test_evaluator: list = []
