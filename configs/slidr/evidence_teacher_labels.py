# SPDX-License-Identifier: Apache-2.0
"""The demo's image network, trained with the labels that LiDAR points carry into the images."""

from mmengine.config import read_base

with read_base():
    from .demo_pretrain import *

from lidistill.evaluation.label_maps import NUSCENES_LABEL_TABLE
from lidistill.models.teachers.pretrain import SupervisedImageTeacher

max_iters = 500
model = dict(
    type=SupervisedImageTeacher,
    student=dict(type=SmallImageNet, width=32, out_channels=64),
    num_classes=17,
    label_table=NUSCENES_LABEL_TABLE,
)
train_dataloader["dataset"].update(
    superpixels_dir=None,
    pipeline=[
        dict(type=LoadPoints),
        dict(type=LoadPointLabels),
        dict(type=LoadImages),
        dict(type=PairPoints),
        dict(type=ResizedCropImages, size=(112, 208), min_pairs=200),
        dict(type=FlipImages),
        voxelize,
        dict(type=PackPairs),
    ],
)
train_cfg.update(max_iters=max_iters)
optim_wrapper["optimizer"].update(lr=2e-3)
param_scheduler[1].update(end=max_iters, T_max=max_iters)
test_cfg = None
test_dataloader = None
test_evaluator = None
