# SPDX-License-Identifier: Apache-2.0
"""PPKT as SLidR's authors ran it: MinkUNet-34 and a frozen MoCo v2 ResNet-50, on nuScenes.

Give the teacher's weights: ``--cfg-options model.teacher.model.weights=FILE``
(``moco_v2_800ep_pretrain.pth.tar``). No superpixels are needed.
Numbers: the authors' ``config/ppkt_nuscenes.yaml``; what is not set here is as for SLidR.
"""

from mmengine.config import read_base

with read_base():
    from ..slidr.minkunet_r50_nuscenes import *

from lidistill.distill.connectors import Conv1x1
from lidistill.methods import PPKT

train_pipeline = [step for step in train_pipeline if step["type"] is not LoadSuperpixels]
train_dataloader["dataset"].update(superpixels_dir=None, pipeline=train_pipeline)

model.update(type=PPKT, num_pairs=4096, temperature=0.07)
model["teacher"]["model"].update(dilated=False)  # the plain network, stride 32
# their head upsamples 32 times; here pairs are read between the cells
model["image_head"] = dict(type=Conv1x1, in_channels=2048, out_channels=64)
