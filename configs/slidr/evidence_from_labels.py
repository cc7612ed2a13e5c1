# SPDX-License-Identifier: Apache-2.0
"""Upper reference: SLidR from an image teacher that was trained with labels."""

from mmengine.config import read_base

with read_base():
    from .demo_pretrain import *

model["teacher"].update(checkpoint="stage://labelled_teacher")
