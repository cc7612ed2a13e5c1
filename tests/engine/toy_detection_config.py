# SPDX-License-Identifier: Apache-2.0
"""Two iterations of a distilled toy detector, a checkpoint after each."""

from mmengine.config import read_base

with read_base():
    from ...configs._base_.runtime import *

from mmengine.optim import OptimWrapper
from torch.optim import AdamW

from lidistill.datasets.sampler import SeededSampler
from lidistill.engine.loops.iterations import ResumableTrainLoop
from tests.engine.toy_detection import ToyScenes, toy_method
from tests.engine.toy_slidr import RankNotes

model = dict(type=toy_method, method="pointdistiller")
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type=SeededSampler),
    dataset=dict(type=ToyScenes),
)
train_cfg = dict(type=ResumableTrainLoop, max_iters=2)
optim_wrapper = dict(
    type=OptimWrapper,
    optimizer=dict(type=AdamW, lr=1e-3),
    clip_grad=dict(max_norm=10, norm_type=2),
)
custom_hooks = [*custom_hooks, dict(type=RankNotes)]
default_hooks.update(dict(checkpoint=dict(type=AtomicCheckpointHook, interval=1)))
