# SPDX-License-Identifier: Apache-2.0
"""An image teacher of one's own: dense contrast on the real images themselves, without labels."""

from mmengine.config import read_base

with read_base():
    from .demo_teacher import *

data_root = "data/real"
fold = "folds/08"
train_dataloader["dataset"].update(
    data_root=data_root, ann_file=f"{fold}/pretrain.pkl", ratio=(1.3, 2.6)
)
