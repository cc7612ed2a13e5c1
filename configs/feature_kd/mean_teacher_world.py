# SPDX-License-Identifier: Apache-2.0
"""A detector taught by the moving average of itself (Mean Teacher), embedded world.

https://arxiv.org/abs/1703.01780. The average is slow once the weights no longer change much.
"""

from mmengine.config import read_base

with read_base():
    from ..detection.pointpillars_world import *

from lidistill.distill.detectors.choices import Gaussian
from lidistill.distill.schedules import Ramp
from lidistill.hooks import EMATeacherHook
from lidistill.losses.feature import pearson_knowledge
from lidistill.losses.response import bernoulli_kd
from lidistill.methods import FeatureKD

student = model
model = dict(
    type=FeatureKD,
    student=student,
    teachers=dict(mean=dict(model=student)),
    terms=dict(
        neck=dict(
            loss=dict(type=pearson_knowledge),
            tap="neck[0]",
            teacher="mean",
            places=[dict(type=Gaussian)],
            weight=dict(type=Ramp, start=0.0, end=1.0, until=0.2),
        ),
        classes=dict(
            loss=dict(type=bernoulli_kd),
            tap="bbox_head.conv_cls",
            teacher="mean",
            places=[dict(type=Gaussian)],
            weight=dict(type=Ramp, start=0.0, end=0.5, until=0.2),
        ),
    ),
)
custom_hooks = [
    *custom_hooks,
    dict(
        type=EMATeacherHook,
        teacher="mean",
        momentum=dict(type=Ramp, start=0.9, end=0.999, until=0.3),
    ),
]
