# SPDX-License-Identifier: Apache-2.0
"""Fine-tune MinkUNet-34 on 1 % of nuScenes' labels (7 of 700 scenes), from a pretraining.

Give the pretraining: ``--cfg-options model.checkpoint=FILE``. Other fractions by the number of
scenes, ``train_dataloader.dataset.scenes``: 35 (5 %), 70 (10 %), 175 (25 %), None (100 %); the
authors' learning rates for those are not public. Twin without pretraining:
``minkunet_nuscenes_scratch.py``.
Numbers: SLidR authors' ``config/semseg_nuscenes.yaml`` and README; 100 epochs: research notes.
"""

from mmengine.config import read_base

with read_base():
    from ..._base_.nuscenes_labels import *
    from ..._base_.runtime import *

from mmengine.optim import CosineAnnealingLR, OptimWrapper
from torch.optim import SGD

from lidistill.engine.loops.epochs import EpochCheckpointHook, ResumableEpochLoop
from lidistill.engine.loops.finetuning import SegmentationTestLoop, SegmentationValLoop
from lidistill.evaluation.segmentor import Segmentor
from lidistill.models.backbones.sparse_unet import SparseUNet

train_dataloader["dataset"].update(scenes=7)
model = dict(
    type=Segmentor,
    # 0.02 reaches the norms of stem, down, up and shortcuts only, as in the authors' code
    backbone=dict(type=SparseUNet, in_channels=1, out_channels=0, norm_momentum=0.02),
    num_classes=num_classes,
    checkpoint="stage://pretrain",
)
train_cfg = dict(type=ResumableEpochLoop, max_epochs=100, val_every=10)
optim_wrapper = dict(
    type=OptimWrapper,
    optimizer=dict(type=SGD, lr=0.02, momentum=0.9, dampening=0.1, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys={"head.": dict(lr_mult=100)}),  # 2.0
)
param_scheduler = [dict(type=CosineAnnealingLR, by_epoch=False, begin=0)]
default_hooks["checkpoint"] = dict(type=EpochCheckpointHook)
val_cfg = dict(type=SegmentationValLoop)
test_cfg = dict(type=SegmentationTestLoop)
