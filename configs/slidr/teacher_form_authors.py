# SPDX-License-Identifier: Apache-2.0
"""The authors' form at demo size: dilated to stride 4, upsampled to every pixel, float32."""

from mmengine.config import read_base

with read_base():
    from .demo_pretrain import *

from lidistill.models.teachers.resnet import ResNetTeacher

model["teacher"] = dict(
    model=dict(type=ResNetTeacher, depth=18, stride=4, base_channels=16),
    checkpoint="stage://image_network",
)
model["image_head"].update(in_channels=128, upsample=4)
