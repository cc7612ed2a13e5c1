# SPDX-License-Identifier: Apache-2.0
"""SLidR as published: MinkUNet-34 taught by a frozen MoCo v2 ResNet-50, on nuScenes.

Give the teacher's weights: ``--cfg-options model.teacher.model.weights=FILE``
(``moco_v2_800ep_pretrain.pth.tar``).
Make the superpixels first: ``lidistill superpixels`` at its defaults (SLIC, 150 segments).
Numbers: SLidR, CVPR 2022, section 4.1, and the authors' ``config/slidr_minkunet.yaml``.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.nuscenes_pairs import *
    from .._base_.runtime import *

from mmengine.optim import CosineAnnealingLR, OptimWrapper
from torch.optim import SGD

from lidistill.distill.connectors import Linear, ProjectionMap
from lidistill.engine.loops.iterations import ResumableTrainLoop
from lidistill.engine.loops.probing import LinearProbeLoop
from lidistill.methods import SLidR
from lidistill.models.backbones.sparse_unet import SparseUNet
from lidistill.models.teachers.resnet import ResNetTeacher

keyframes = 28_130  # nuScenes' 700 training scenes
epochs = 50
max_iters = epochs * keyframes // 4

model = dict(
    type=SLidR,
    student=dict(type=SparseUNet, in_channels=1, out_channels=0),  # 37.85 M with its output layer
    teacher=dict(model=dict(type=ResNetTeacher, depth=50, dilated=True, weights=None)),
    point_head=dict(type=Linear, in_features=96, out_features=64),
    # upsample=4 is the authors' dense head; 1 pools the stride-4 map through interpolation weights
    image_head=dict(type=ProjectionMap, in_channels=2048, out_channels=64, upsample=4),
    temperature=0.07,
)
train_cfg = dict(type=ResumableTrainLoop, max_iters=max_iters)
optim_wrapper = dict(  # one GPU, batch 4; scale the rate with the batch (authors' readme)
    type=OptimWrapper,
    optimizer=dict(type=SGD, lr=0.5, momentum=0.9, dampening=0.1, weight_decay=1e-4),
)
param_scheduler = [
    dict(type=CosineAnnealingLR, by_epoch=False, begin=0, end=max_iters, T_max=max_iters)
]
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, interval=2000))
test_cfg = dict(type=LinearProbeLoop, train_dataloader=probe_train_dataloader)
test_evaluator: list = []
