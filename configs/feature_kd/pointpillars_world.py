# SPDX-License-Identifier: Apache-2.0
"""PKD on the neck and Bernoulli logit distillation, embedded world; teacher as for PointDistiller.

Both only near objects. PKD sees neither scale nor offset; a 1x1 convolution widens the student.
"""

from mmengine.config import read_base

with read_base():
    from ..detection.pointpillars_world import *

from lidistill.distill.connectors import Conv1x1
from lidistill.distill.detectors.choices import Gaussian
from lidistill.losses.feature import pearson_knowledge
from lidistill.losses.response import bernoulli_kd
from lidistill.methods import FeatureKD
from lidistill.models.detectors.compress import compressed_detector

teacher = model
model = dict(
    type=FeatureKD,
    student=dict(teacher, type=compressed_detector, encoder=0.5, backbone=0.5, head=0.5),
    teachers=dict(
        teacher=dict(model=teacher, checkpoint=f"work_dirs/pointpillars_world/iter_{max_iters}.pth")
    ),
    terms=dict(
        neck=dict(
            loss=dict(type=pearson_knowledge),
            tap="neck[0]",
            places=[dict(type=Gaussian)],
            connector=dict(type=Conv1x1, in_channels=3 * (width // 2), out_channels=3 * width),
            weight=1.0,
        ),
        classes=dict(
            loss=dict(type=bernoulli_kd),
            tap="bbox_head.conv_cls",
            places=[dict(type=Gaussian)],
            weight=0.5,
        ),
    ),
)
