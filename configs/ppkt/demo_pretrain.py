# SPDX-License-Identifier: Apache-2.0
"""PPKT on the embedded world: SLidR's demo with single points in place of superpixels.

No stage of the demo, so name a teacher that was trained before, for example
``--cfg-options model.teacher.checkpoint=work_dirs/demo/image_teacher/iter_1000.pth``; ``random``
leaves random weights.
"""

from mmengine.config import read_base

with read_base():
    from ..slidr.demo_pretrain import *

from lidistill.distill.connectors import Conv1x1
from lidistill.methods import PPKT

train_pipeline = [step for step in train_pipeline if step["type"] is not LoadSuperpixels]
train_dataloader["dataset"].update(superpixels_dir=None, pipeline=train_pipeline)

model["type"] = PPKT
# the head keeps lengths: unit length after reading between the cells, as in the release
model["image_head"] = dict(type=Conv1x1, in_channels=64, out_channels=embedding)
