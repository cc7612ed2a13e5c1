# SPDX-License-Identifier: Apache-2.0
"""What detection on the embedded world shares in both layouts: batches and steps for one core."""

from mmengine.config import read_base

with read_base():
    from .detection_schedule import *
    from .runtime import *

epochs = 12
train_frames = 200  # preset bench
batch_size = 2
max_iters = epochs * train_frames // batch_size
train_cfg.update(max_iters=max_iters)
optim_wrapper["optimizer"].update(lr=3e-3)
param_scheduler[1].update(end=max_iters, T_max=max_iters)
