# SPDX-License-Identifier: Apache-2.0
"""Objectives of the zoo for the world's PointPillars and SECOND: ``model.terms = zoo["pkd"]``.

Neck 96 channels in the teacher and 48 in the student, logits of the anchor head. Weights of terms
on the neck give a first gradient of about 2, a fifth of the detection loss's (``lidistill
dry_run``); those of logits start small, whatever the weight: 15 is SparseKD's for small students.
"""

from lidistill.distill.connectors import Conv1x1, Orthogonal
from lidistill.distill.detectors.choices import Gaussian, Occupied, Score, TopK
from lidistill.losses.feature import (
    attention_transfer,
    channel_wise,
    fitnet,
    orthogonal_projection,
    pearson_knowledge,
)
from lidistill.losses.relation import similarity_preserving
from lidistill.losses.response import bernoulli_kd, pivotal_logits

neck = dict(tap="neck[0]", places=[dict(type=Gaussian)])
neck_everywhere = dict(tap="neck[0]", places=[dict(type=Occupied)])
wider = dict(type=Conv1x1, in_channels=48, out_channels=96)
logits = dict(tap="bbox_head.conv_cls", places=[dict(type=Gaussian)])
pivotal = [dict(type=Gaussian), dict(type=Score, threshold=0.0, weigh=True)]
zoo = dict(
    fitnets=dict(neck=dict(neck, loss=dict(type=fitnet), connector=wider, weight=1.0)),
    at=dict(neck=dict(neck_everywhere, loss=dict(type=attention_transfer), weight=1000.0)),
    sp=dict(
        neck=dict(
            tap="neck[0]",
            places=[dict(type=TopK, count=512)],
            loss=dict(type=similarity_preserving),
            weight=1000.0,
        )
    ),
    cwd=dict(neck=dict(neck_everywhere, loss=dict(type=channel_wise), connector=wider, weight=1.0)),
    pkd=dict(neck=dict(neck, loss=dict(type=pearson_knowledge), connector=wider, weight=4.0)),
    vkd=dict(
        neck=dict(
            neck,
            loss=dict(type=orthogonal_projection),
            connector=dict(type=Orthogonal, in_features=48, out_features=96),
            weight=3.0,
        )
    ),
    bernoulli=dict(classes=dict(logits, loss=dict(type=bernoulli_kd), weight=4.0)),
    pivotal=dict(classes=dict(logits, loss=dict(type=pivotal_logits), places=pivotal, weight=15.0)),
)
