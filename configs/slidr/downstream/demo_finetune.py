# SPDX-License-Identifier: Apache-2.0
"""Fine-tune the demo's student on the embedded world: about a minute of one CPU core.

Give the pretraining: ``--cfg-options model.checkpoint=FILE`` (its twin: ``None``), and the number
of labelled scenes: ``train_dataloader.dataset.scenes=1``.
"""

from mmengine.config import read_base

with read_base():
    from ..._base_.nuscenes_labels import *
    from ..._base_.runtime import *

from mmengine.optim import CosineAnnealingLR, LinearLR, OptimWrapper
from torch.optim import AdamW

from lidistill.engine.loops.finetuning import SegmentationTestLoop
from lidistill.engine.loops.iterations import ResumableTrainLoop
from lidistill.evaluation.segmentor import Segmentor
from lidistill.geometry.voxels import CartesianVoxels
from lidistill.models.backbones.sparse_unet import SparseUNet

data_root = "data/world/nuscenes"
max_iters = 200

voxelize = dict(  # as in demo_pretrain.py
    type=Voxelize,
    voxels=dict(
        type=CartesianVoxels,
        size=(0.2, 0.2, 0.2),
        point_range=(-51.2, -51.2, -4.0, 51.2, 51.2, 8.8),
    ),
    features=("intensity", "z"),
    intensity_scale=1 / 20,
)
train_pipeline = [dict(type=LoadPoints), *labels, dict(type=RotateFlipPoints), voxelize]
val_pipeline = [dict(type=LoadPoints), *labels, voxelize]
train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
train_dataloader["dataset"].update(data_root=data_root, pipeline=train_pipeline)
test_dataloader.update(num_workers=0)
test_dataloader["dataset"].update(data_root=data_root, pipeline=val_pipeline)
val_dataloader = None  # scored once, at the end
val_evaluator = None

model = dict(
    type=Segmentor,
    backbone=dict(
        type=SparseUNet,
        in_channels=2,
        out_channels=0,
        stem=16,
        planes=(16, 32, 48, 64, 64, 48, 32, 64),
        blocks=(1,) * 8,
    ),
    num_classes=num_classes,
    checkpoint="stage://pretrain",
)
train_cfg = dict(type=ResumableTrainLoop, max_iters=max_iters)
optim_wrapper = dict(
    type=OptimWrapper,
    optimizer=dict(type=AdamW, lr=1e-3, weight_decay=0.01),
    paramwise_cfg=dict(custom_keys={"head.": dict(lr_mult=10)}),
)
param_scheduler = [
    dict(type=LinearLR, start_factor=0.1, by_epoch=False, begin=0, end=20),
    dict(type=CosineAnnealingLR, by_epoch=False, begin=20, end=max_iters, T_max=max_iters),
]
test_cfg = dict(type=SegmentationTestLoop)
