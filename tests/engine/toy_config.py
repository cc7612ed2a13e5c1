# SPDX-License-Identifier: Apache-2.0
"""A whole training of the toy method: 40 iterations, a checkpoint every five."""

from mmengine.config import read_base

with read_base():
    from ...configs._base_.runtime import *

from mmengine.optim import CosineAnnealingLR, OptimWrapper
from torch.optim import SGD

from lidistill.datasets.sampler import SeededSampler
from lidistill.engine.loops.iterations import ResumableTrainLoop
from tests.distill.toys import ToyMethod
from tests.engine.toy_data import ToyDataset, collate_toys

data_root = "data/toy"
max_iters = 40
model = dict(type=ToyMethod)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type=SeededSampler),
    dataset=dict(type=ToyDataset, root=f"{data_root}/points"),
    collate_fn=dict(type=collate_toys),
)
train_cfg = dict(type=ResumableTrainLoop, max_iters=max_iters)
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=SGD, lr=0.005, momentum=0.9))
param_scheduler = [dict(type=CosineAnnealingLR, by_epoch=False, begin=0, end=max_iters)]
default_hooks.update(dict(checkpoint=dict(type=AtomicCheckpointHook, interval=5)))
