# SPDX-License-Identifier: Apache-2.0
"""SLidR on SemanticKITTI: MinkUNet-34 taught by EfficientNet-Lite. Not run.

Superpixels first: ``lidistill superpixels`` with ``--sigma 1.5``. Rate and schedule are SLidR's on
nuScenes (CVPR 2022, section 4.1). Published are fine-tunings on SemanticKITTI after pretraining on
nuScenes (docs/real_data.md), none after pretraining on these pairs.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.kitti_pairs import *
    from .._base_.runtime import *

from mmengine.optim import CosineAnnealingLR, OptimWrapper
from torch.optim import SGD

from lidistill.converters.semantic_kitti.labels import SEMANTIC_KITTI_CLASSES
from lidistill.distill.connectors import Linear, ProjectionMap
from lidistill.engine.loops.iterations import ResumableTrainLoop
from lidistill.engine.loops.probing import LinearProbeLoop
from lidistill.methods import SLidR
from lidistill.models.backbones.sparse_unet import SparseUNet
from lidistill.models.teachers.efficientnet_lite import EfficientNetLiteTeacher

scans = 19_130
epochs = 50
max_iters = epochs * scans // 16

model = dict(
    type=SLidR,
    student=dict(type=SparseUNet, in_channels=1, out_channels=0),
    teacher=dict(model=dict(type=EfficientNetLiteTeacher, stride=8, weights="package")),
    point_head=dict(type=Linear, in_features=96, out_features=64),
    image_head=dict(type=ProjectionMap, in_channels=496, out_channels=64),
    temperature=0.07,
)
train_cfg = dict(type=ResumableTrainLoop, max_iters=max_iters)
optim_wrapper = dict(
    type=OptimWrapper,
    optimizer=dict(type=SGD, lr=0.5, momentum=0.9, dampening=0.1, weight_decay=1e-4),
)
param_scheduler = [
    dict(type=CosineAnnealingLR, by_epoch=False, begin=0, end=max_iters, T_max=max_iters)
]
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, interval=2000))
test_cfg = dict(
    type=LinearProbeLoop,
    train_dataloader=probe_train_dataloader,
    classes=SEMANTIC_KITTI_CLASSES,
)
test_evaluator: list = []
