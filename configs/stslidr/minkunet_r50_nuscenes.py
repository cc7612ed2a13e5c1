# SPDX-License-Identifier: Apache-2.0
"""ST-SLidR as published: SLidR's networks, tolerant weights and class balance, on nuScenes.

Give the teacher's weights: ``--cfg-options model.teacher.model.weights=FILE``
(``moco_v2_800ep_pretrain.pth.tar``).
Make the superpixels first: ``lidistill superpixels`` at its defaults (SLIC, 150 segments).
Numbers: the authors' ``config/pretrain/nuscenes/slidr/stslidr_classbalance_moco.yaml`` and
``base_slidr.yaml``; what is not set here is as for SLidR. ``model.class_balance=False`` is their
``stslidr_moco.yaml``.
"""

from mmengine.config import read_base

with read_base():
    from ..slidr.minkunet_r50_nuscenes import *

from lidistill.methods import STSLidR

batch_size = 16  # over two GPUs: 8 each, so run tools/dist_train.sh CONFIG 2
max_iters = epochs * keyframes // batch_size

train_dataloader.update(batch_size=batch_size // 2)
model.update(type=STSLidR, min_quantile=0.01, class_balance=True)
train_cfg.update(max_iters=max_iters)
for scheduler in param_scheduler:
    scheduler.update(end=max_iters, T_max=max_iters)
