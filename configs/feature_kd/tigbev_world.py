# SPDX-License-Identifier: Apache-2.0
"""TiG-BEV's inner geometry as objectives of the zoo: LiDAR to cameras, embedded world.

Weights are the paper's; its boxes are 1.6 times as large. Its 24 x 24 points are 12 x 12 here.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.bev_detectors_world import *
    from .._base_.bev_world import *

from lidistill.distill.connectors import Linear
from lidistill.distill.detectors.bev_choices import BoxPoints
from lidistill.losses.bev import gram_relation
from lidistill.methods import FeatureKD

side = 12
lattice = [dict(type=BoxPoints, side=side, boxes=dict(factor=1.6))]
gram = dict(type=gram_relation, points=side**2, distance="l2")
model = dict(
    type=FeatureKD,
    student=camera_detector,
    teachers=dict(
        teacher=dict(
            model=lidar_detector, checkpoint=f"work_dirs/bev_lidar_world/iter_{max_iters}.pth"
        )
    ),
    terms=dict(
        points=dict(loss=gram, tap="bev_high", places=lattice, weight=100.0),
        channels=dict(
            loss=dict(gram, relates="channels"),
            tap="bev_high",
            places=lattice,
            connector=dict(type=Linear, in_features=96, out_features=96),
            weight=20.0,
        ),
    ),
)
