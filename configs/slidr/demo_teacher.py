# SPDX-License-Identifier: Apache-2.0
"""The demo's image teacher: dense contrast on the world's own images, without labels."""

from mmengine.config import read_base

with read_base():
    from .._base_.runtime import *

from mmengine.optim import CosineAnnealingLR, LinearLR, OptimWrapper
from torch.optim import AdamW

from lidistill.datasets.images import ImageCrops, collate_views
from lidistill.datasets.sampler import SeededSampler
from lidistill.engine.loops.iterations import ResumableTrainLoop
from lidistill.models.teachers.pretrain import DenseImageContrast
from lidistill.models.teachers.small import SmallImageNet

data_root = "data/world/nuscenes"
max_iters = 1000

model = dict(
    type=DenseImageContrast,
    student=dict(type=SmallImageNet, width=32, out_channels=64),
    temperature=0.1,
)
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type=SeededSampler),
    dataset=dict(
        type=ImageCrops,
        ann_file="lidistill_infos_train.pkl",
        data_root=data_root,
        size=(96, 160),
        points=256,
        jitter=dict(  # half of the defaults: best of 1, 1/2, 1/4 on preset bench, seed 7
            hue=1.57,
            saturation=(0.65, 1.25),
            grey=0.1,
            gain=0.1,
            brightness=0.2,
            contrast=0.2,
            gamma=0.2,
        ),
    ),
    collate_fn=dict(type=collate_views),
)
train_cfg = dict(type=ResumableTrainLoop, max_iters=max_iters)
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=AdamW, lr=2e-3, weight_decay=1e-4))
param_scheduler = [
    dict(type=LinearLR, start_factor=0.05, by_epoch=False, begin=0, end=100),
    dict(type=CosineAnnealingLR, by_epoch=False, begin=100, end=max_iters, T_max=max_iters),
]
