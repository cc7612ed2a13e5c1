# SPDX-License-Identifier: Apache-2.0
"""Gate: SLidR from plain colour. A world in which this is enough could not tell teachers apart."""

from mmengine.config import read_base

with read_base():
    from .demo_pretrain import *

from lidistill.models.teachers.colour import LocalColour

model["teacher"] = dict(model=dict(type=LocalColour))
model["image_head"].update(in_channels=3)
