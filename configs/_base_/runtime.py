# SPDX-License-Identifier: Apache-2.0
"""What every training shares: hooks, logging, resumable iterations."""

from mmengine.hooks import (
    DistSamplerSeedHook,
    IterTimerHook,
    LoggerHook,
    ParamSchedulerHook,
    RuntimeInfoHook,
)
from mmengine.runner import LogProcessor
from mmengine.visualization import LocalVisBackend, TensorboardVisBackend, Visualizer

from lidistill.hooks import (
    AtomicCheckpointHook,
    AuditHook,
    FiniteLossHook,
    ProgressBarHook,
    ScheduleHook,
)

default_scope = None
default_hooks = dict(
    runtime_info=dict(type=RuntimeInfoHook),
    timer=dict(type=IterTimerHook),
    sampler_seed=dict(type=DistSamplerSeedHook),
    logger=dict(type=LoggerHook, interval=10, log_metric_by_epoch=False),
    param_scheduler=dict(type=ParamSchedulerHook),
    checkpoint=dict(type=AtomicCheckpointHook, interval=100),
)
custom_hooks = [
    dict(type=FiniteLossHook),
    dict(type=AuditHook),
    dict(type=ScheduleHook),
    dict(type=ProgressBarHook),
]
log_processor = dict(type=LogProcessor, by_epoch=False, window_size=10)
visualizer = dict(
    type=Visualizer,
    vis_backends=[dict(type=LocalVisBackend), dict(type=TensorboardVisBackend)],
)
randomness = dict(seed=0)
env_cfg = dict(cudnn_benchmark=False)
log_level = "INFO"
