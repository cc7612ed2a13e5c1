# SPDX-License-Identifier: Apache-2.0
"""Our form at demo size: the same weights at stride 16, read between the cells."""

from mmengine.config import read_base

with read_base():
    from .teacher_form_authors import *

model["teacher"]["model"].update(stride=16)
model["image_head"].update(upsample=1)
