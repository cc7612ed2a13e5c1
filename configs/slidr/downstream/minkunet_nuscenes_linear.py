# SPDX-License-Identifier: Apache-2.0
"""Linear probing as SLidR's authors do it: the head alone, on all labels of nuScenes.

Learning rate 0.05, backbone frozen in evaluation mode (issue 11 of their repository).
``lidistill test`` of a pretraining config is the same question in seconds, by another protocol.
"""

from mmengine.config import read_base

with read_base():
    from .minkunet_nuscenes import *

train_dataloader["dataset"].update(scenes=None)
model.update(freeze_backbone=True)
optim_wrapper["paramwise_cfg"] = None
optim_wrapper["optimizer"].update(lr=0.05)
