# SPDX-License-Identifier: Apache-2.0
"""A student of two teachers, embedded world: the large detector, and the assistant at half weight.

Both come from ``teacher_assistant_world.py``; a term names its teacher and its weight.
"""

from mmengine.config import read_base

with read_base():
    from .pointpillars_world import *

from lidistill.distill.detectors.choices import Gaussian
from lidistill.losses.response import bernoulli_kd
from lidistill.models.detectors.compress import compressed_detector

chain = "work_dirs/teacher_assistant_world"
model["teachers"]["teacher"].update(checkpoint=f"{chain}/teacher/iter_{max_iters}.pth")
model["teachers"]["assistant"] = dict(
    model=dict(teacher, type=compressed_detector, encoder=0.75, backbone=0.75, head=0.75),
    checkpoint=f"{chain}/assistant/iter_{max_iters}.pth",
)
model["terms"]["assistant_classes"] = dict(
    loss=dict(type=bernoulli_kd),
    tap="bbox_head.conv_cls",
    teacher="assistant",
    places=[dict(type=Gaussian)],
    weight=0.25,
)
