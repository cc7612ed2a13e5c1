# SPDX-License-Identifier: Apache-2.0
"""SLidR on real pairs without the points' reflectance: what does geometry alone carry?"""

from mmengine.config import read_base

with read_base():
    from .real_pretrain import *

features = ("z",)
train_dataloader["dataset"]["pipeline"][-2].update(features=features)
for loader in (test_cfg["train_dataloader"], test_dataloader):
    loader["dataset"]["pipeline"][-1].update(features=features)
model["student"].update(in_channels=1)
