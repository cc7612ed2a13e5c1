# SPDX-License-Identifier: Apache-2.0
"""SparseKD's pivotal-position logit distillation, embedded world; teacher as for PointDistiller.

The mask is the shipped one: the teacher's confidence times a Gaussian of the objects. Weight: 7 for
pillars there; here the heads have other sizes.
"""

from mmengine.config import read_base

with read_base():
    from ..detection.centerpoint_pillar_world import *

from lidistill.distill.detectors.choices import Gaussian, Score
from lidistill.losses.response import pivotal_logits
from lidistill.methods import FeatureKD
from lidistill.models.detectors.compress import compressed_detector

teacher = model
pivotal = [dict(type=Gaussian), dict(type=Score, threshold=0.0, weigh=True)]
model = dict(
    type=FeatureKD,
    student=dict(teacher, type=compressed_detector, encoder=0.5, backbone=0.5, head=0.5),
    teachers=dict(
        teacher=dict(
            model=teacher,
            checkpoint=f"work_dirs/centerpoint_pillar_world/iter_{max_iters}.pth",
        )
    ),
    terms=dict(
        heatmap1=dict(
            loss=dict(type=pivotal_logits),
            tap="pts_bbox_head.task_heads.0.heatmap",
            places=pivotal,
            weight=7.0,
        ),
        heatmap2=dict(
            loss=dict(type=pivotal_logits),
            tap="pts_bbox_head.task_heads.1.heatmap",
            places=pivotal,
            weight=7.0,
        ),
    ),
)
