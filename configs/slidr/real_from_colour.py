# SPDX-License-Identifier: Apache-2.0
"""Gate on real pairs: local mean and deviation of the colour in place of an image network."""

from mmengine.config import read_base

with read_base():
    from .real_pretrain import *

from lidistill.models.teachers.colour import LocalColour

model["teacher"] = dict(model=dict(type=LocalColour, deviation=True))
model["image_head"].update(in_channels=6)
