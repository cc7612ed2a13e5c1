# SPDX-License-Identifier: Apache-2.0
"""Mean Teacher with pseudo labels, what X-Ray's semi-supervised form is compared with.

A tenth of the labels; elsewhere the sure boxes of the student's moving average are its labels, and
its maps the student's targets. The teacher sees the student's own frames.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.xray_center import *
    from ..detection.centerpoint_pillar_world import *

from lidistill.hooks import EMATeacherHook

train_dataloader["dataset"].update(labelled=0.1)
model = dict(
    xray,
    student=model,
    teacher=dict(model=model, complete=False),
    pseudo=dict(teacher="teacher", score=0.3),
)
custom_hooks = [*custom_hooks, dict(type=EMATeacherHook, momentum=0.99)]
