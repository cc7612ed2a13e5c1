# SPDX-License-Identifier: Apache-2.0
"""Mean Teacher with pseudo labels in X-Ray's table of few labels.

It begins as a detector of the labelled scene: an untrained moving average has sure boxes too.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.xray_center import *
    from .centerpoint_cars import *

from lidistill.hooks import EMATeacherHook
from lidistill.hooks.pretrained import PretrainedParts

train_dataloader["dataset"].update(labelled=0.1)
model = dict(
    xray,
    heads=heads[:1],  # one task
    student=model,
    teacher=dict(model=model, complete=False),
    pseudo=dict(teacher="teacher", score=0.3),
)
custom_hooks = [
    *custom_hooks,
    dict(type=PretrainedParts, checkpoint="stage://detector", parts=dict(student="")),
    dict(type=EMATeacherHook, momentum=0.99),  # begins as the student
]
