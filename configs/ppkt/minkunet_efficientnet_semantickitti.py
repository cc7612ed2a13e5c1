# SPDX-License-Identifier: Apache-2.0
"""PPKT on SemanticKITTI, else as SLidR's. Not run."""

from mmengine.config import read_base

with read_base():
    from ..slidr.minkunet_efficientnet_semantickitti import *

from lidistill.distill.connectors import Conv1x1
from lidistill.methods import PPKT

train_pipeline = [step for step in train_pipeline if step["type"] is not LoadSuperpixels]
train_dataloader["dataset"].update(superpixels_dir=None, pipeline=train_pipeline)
model["type"] = PPKT
model["image_head"] = dict(type=Conv1x1, in_channels=496, out_channels=64)
