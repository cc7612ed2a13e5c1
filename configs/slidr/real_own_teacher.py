# SPDX-License-Identifier: Apache-2.0
"""SLidR on real pairs, taught by an image network that saw these images and no label.

Give its weights: ``model.teacher.checkpoint=FILE`` (``real_teacher.py`` trains it).
"""

from mmengine.config import read_base

with read_base():
    from .real_pretrain import *

from lidistill.models.teachers.small import SmallImageNet

model["teacher"] = dict(
    model=dict(type=SmallImageNet, width=32, out_channels=64), checkpoint="stage://image_teacher"
)
model["image_head"].update(in_channels=64)
