# SPDX-License-Identifier: Apache-2.0
"""DistillBEV's terms as objectives of the zoo: LiDAR to cameras, embedded world.

Weights balance the terms on this world; the release's hold for its sums over a map.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.bev_detectors_world import *
    from .._base_.bev_world import *

from lidistill.distill.connectors import Conv1x1
from lidistill.distill.detectors.bev_choices import Footprint
from lidistill.losses.bev import attention_gap, attention_weighted
from lidistill.methods import FeatureKD

adapter = dict(type=Conv1x1, in_channels=96, out_channels=96)
heads = "pts_bbox_head.task_heads"
model = dict(
    type=FeatureKD,
    student=camera_detector,
    teachers=dict(
        teacher=dict(
            model=lidar_detector, checkpoint=f"work_dirs/bev_lidar_world/iter_{max_iters}.pth"
        )
    ),
    heatmaps=[f"{heads}.0.heatmap", f"{heads}.1.heatmap"],
    terms=dict(
        foreground=dict(
            loss=dict(type=attention_weighted, temperature=0.5),
            tap="bev_high",
            places=[dict(type=Footprint, size_weight="sqrt", false_positives=0.1)],
            connector=adapter,
            weight=1.0,
        ),
        attention=dict(
            loss=dict(type=attention_gap, temperature=0.5),
            tap="bev_high",
            connector=adapter,
            weight=0.25,  # the release's
        ),
    ),
)
