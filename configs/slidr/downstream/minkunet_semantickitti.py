# SPDX-License-Identifier: Apache-2.0
"""Fine-tune MinkUNet-34 on 1 % of SemanticKITTI's labels (every 100th scan), from a pretraining.

Give the pretraining (on nuScenes, in the paper): ``--cfg-options model.checkpoint=FILE``; its twin
is ``minkunet_semantickitti_scratch.py``. Other fractions: ``train_dataloader.dataset.every_scan``.
Numbers: SLidR authors' ``config/semseg_kitti.yaml``; head rate and epochs: research notes.
"""

from mmengine.config import read_base

with read_base():
    from ..._base_.runtime import *
    from ..._base_.semantic_kitti_labels import *

from mmengine.optim import CosineAnnealingLR, OptimWrapper
from torch.optim import SGD

from lidistill.engine.loops.epochs import EpochCheckpointHook, ResumableEpochLoop
from lidistill.engine.loops.finetuning import SegmentationTestLoop, SegmentationValLoop
from lidistill.evaluation.segmentor import Segmentor
from lidistill.models.backbones.sparse_unet import SparseUNet

train_dataloader["dataset"].update(every_scan=100)
model = dict(
    type=Segmentor,
    backbone=dict(type=SparseUNet, in_channels=1, out_channels=0, norm_momentum=0.02),
    num_classes=num_classes,
    checkpoint="stage://pretrain",
)
train_cfg = dict(type=ResumableEpochLoop, max_epochs=100, val_every=10)
optim_wrapper = dict(
    type=OptimWrapper,
    optimizer=dict(type=SGD, lr=0.05, momentum=0.9, dampening=0.1, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys={"head.": dict(lr_mult=40)}),  # 2.0
)
param_scheduler = [dict(type=CosineAnnealingLR, by_epoch=False, begin=0)]
default_hooks["checkpoint"] = dict(type=EpochCheckpointHook)
val_cfg = dict(type=SegmentationValLoop)
test_cfg = dict(type=SegmentationTestLoop)
