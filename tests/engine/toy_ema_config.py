# SPDX-License-Identifier: Apache-2.0
"""Twelve iterations of a student and its moving average, two batches a step."""

from mmengine.config import read_base

with read_base():
    from .toy_config import *

from lidistill.distill.schedules import Ramp
from lidistill.hooks import EMATeacherHook
from tests.distill.toys import SelfTaught

model = dict(type=SelfTaught)
max_iters = 12
train_cfg.update(max_iters=max_iters)
param_scheduler = []
optim_wrapper.update(accumulative_counts=2)
momentum = dict(type=Ramp, start=0.5, end=0.9)
custom_hooks = [*custom_hooks, dict(type=EMATeacherHook, teacher="mean", momentum=momentum)]
default_hooks.update(dict(checkpoint=dict(type=AtomicCheckpointHook, interval=2, keep=-1)))
