# SPDX-License-Identifier: Apache-2.0
"""Four iterations of toy SLidR, a checkpoint every two, one sample for each process."""

from mmengine.config import read_base

with read_base():
    from ...configs._base_.runtime import *

from mmengine.optim import OptimWrapper
from torch.optim import SGD

from lidistill.datasets.sampler import SeededSampler
from lidistill.engine.loops.iterations import ResumableTrainLoop
from tests.engine.toy_slidr import RankNotes, ToyPairs, ToySLidR, join

model = dict(type=ToySLidR, negatives="all")
train_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type=SeededSampler),
    dataset=dict(type=ToyPairs),
    collate_fn=dict(type=join),
)
train_cfg = dict(type=ResumableTrainLoop, max_iters=4)
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=SGD, lr=0.5, momentum=0.9))
custom_hooks = [*custom_hooks, dict(type=RankNotes)]
default_hooks.update(dict(checkpoint=dict(type=AtomicCheckpointHook, interval=2)))
