# SPDX-License-Identifier: Apache-2.0
"""BEVDistill's dense and sparse terms as objectives of the zoo: LiDAR to cameras, embedded world.

Dense: MSE under the objects' Gaussians; sparse: contrast of box points. The paper's second term is
of queries, which CenterPoint's head does not have.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.bev_detectors_world import *
    from .._base_.bev_world import *

from lidistill.distill.connectors import MLP
from lidistill.distill.detectors.bev_choices import BoxPoints, CentreGaussian
from lidistill.losses.bev import point_contrast, squared
from lidistill.methods import FeatureKD

model = dict(
    type=FeatureKD,
    student=camera_detector,
    teachers=dict(
        teacher=dict(
            model=lidar_detector, checkpoint=f"work_dirs/bev_lidar_world/iter_{max_iters}.pth"
        )
    ),
    terms=dict(
        dense=dict(
            loss=dict(type=squared),
            tap="bev_high",
            places=[dict(type=CentreGaussian, overlap=0.1, min_radius=1)],
            weight=0.64,  # the release's 0.01, whose sum over channels is a mean here
        ),
        sparse=dict(
            loss=dict(type=point_contrast, temperature=0.07),
            tap="bev_high",
            places=[dict(type=BoxPoints, side=1)],
            connector=dict(type=MLP, in_features=96, hidden_features=96, out_features=96),
            weight=0.2,
        ),
    ),
)
