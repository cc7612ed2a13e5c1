# SPDX-License-Identifier: Apache-2.0
"""Mean Teacher with pseudo labels in X-Ray's table of few labels."""

from mmengine.config import read_base

with read_base():
    from .._base_.mean_teacher import *
    from .._base_.xray_center import *
    from .centerpoint_cars import *

train_dataloader["dataset"].update(labelled=0.1)
model = dict(
    xray,
    heads=heads[:1],  # one task
    student=model,
    teacher=dict(model=model, complete=False),
    pseudo=pseudo,
)
custom_hooks = [*custom_hooks, *follow]
