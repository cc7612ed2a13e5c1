# SPDX-License-Identifier: Apache-2.0
"""ScaLR's objective on SemanticKITTI with MinkUNet-34 and EfficientNet-Lite. Not run."""

from mmengine.config import read_base

with read_base():
    from ..slidr.minkunet_efficientnet_semantickitti import *

from mmengine.optim import LinearLR
from torch.optim import AdamW

from lidistill.datasets.transforms import ResizeImages
from lidistill.methods import ScaLR

warmup = 3500  # iterations; as minkunet_dinov2_nuscenes.py, the next two lines too
epochs = 25
max_iters = epochs * scans // 16

train_pipeline = [
    dict(type=LoadPoints),
    dict(type=LoadImages),
    dict(type=PairPoints),
    dict(type=RotateFlipPoints),
    dict(type=ResizeImages, size=crop_size),
    voxelize,
    dict(type=PackPairs),
]
train_dataloader["dataset"].update(superpixels_dir=None, pipeline=train_pipeline)
model = dict(
    type=ScaLR,
    student=model["student"],
    teacher=model["teacher"],
    point_head=dict(type=Linear, in_features=96, out_features=496),
)
train_cfg.update(max_iters=max_iters)
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=AdamW, lr=2e-3, weight_decay=0.03))
param_scheduler = [
    dict(type=LinearLR, start_factor=1e-3, by_epoch=False, begin=0, end=warmup),
    dict(
        type=CosineAnnealingLR,
        by_epoch=False,
        begin=warmup,
        end=max_iters,
        T_max=max_iters - warmup,
        eta_min=1e-5,
    ),
]
