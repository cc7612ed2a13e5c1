# SPDX-License-Identifier: Apache-2.0
"""ScaLR on real pairs of KITTI: whole images, no image head, no regions; else as SLidR's."""

from mmengine.config import read_base

with read_base():
    from ..slidr.real_pretrain import *

from lidistill.datasets.transforms import ResizeImages
from lidistill.methods import ScaLR

train_pipeline = [
    dict(type=LoadPoints),
    dict(type=LoadImages),
    dict(type=PairPoints),
    dict(type=KeepPairedPoints),
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
    point_head=dict(type=Linear, in_features=planes[-1], out_features=496),
)
