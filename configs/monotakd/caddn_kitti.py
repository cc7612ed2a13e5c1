# SPDX-License-Identifier: Apache-2.0
"""CMKD's and MonoTAKD's student alone on KITTI, three classes.

Batch and schedule as in MonoTAKD's release: 2 images, AdamW 2e-4, gradients clipped at 10; its 10
epochs follow a pretraining on more data, so 40 are taken here.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.bev_kitti import *
    from .._base_.caddn_kitti import *
    from .._base_.detection_schedule import *
    from .._base_.runtime import *

max_iters = 40 * 3712 // 2
train_dataloader.update(batch_size=2)
train_cfg.update(max_iters=max_iters)
optim_wrapper["optimizer"].update(lr=2e-4)
optim_wrapper.update(clip_grad=dict(max_norm=10, norm_type=2))
param_scheduler[1].update(end=max_iters, T_max=max_iters)
model = camera_detector
