# SPDX-License-Identifier: Apache-2.0
"""The image network of both forms: a thin ResNet-18 at stride 8, between the two, no labels."""

from mmengine.config import read_base

with read_base():
    from .demo_teacher import *

from lidistill.models.teachers.resnet import ResNetTeacher

model["student"] = dict(type=ResNetTeacher, depth=18, stride=8, base_channels=16)
