# SPDX-License-Identifier: Apache-2.0
"""The student of mean_teacher_world.py, which begins as a detector of the labelled scenes.

A tenth of the labels; elsewhere the sure boxes of the student's moving average are its labels, and
its maps the student's targets. The teacher sees the student's own frames.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.mean_teacher import *
    from .._base_.xray_center import *
    from ..detection.centerpoint_pillar_world import *

train_dataloader["dataset"].update(labelled=0.1)
model = dict(
    xray,
    student=model,
    teacher=dict(model=model, complete=False),
    pseudo=pseudo,
)
custom_hooks = [*custom_hooks, *follow]
