# SPDX-License-Identifier: Apache-2.0
"""PointDistiller on CenterPoint's pillars, embedded world; the paper has no CenterPoint."""

from mmengine.config import read_base

with read_base():
    from ..detection.centerpoint_pillar_world import *

from lidistill.methods import PointDistiller
from lidistill.models.detectors.compress import compressed_detector

teacher = model
model = dict(
    type=PointDistiller,
    student=dict(teacher, type=compressed_detector, encoder=0.5, backbone=0.5, head=0.5),
    teacher=dict(
        model=teacher, checkpoint=f"work_dirs/centerpoint_pillar_world/iter_{max_iters}.pth"
    ),
    graphs=dict(
        pillars=dict(
            tap="pts_voxel_encoder",
            channels=(width // 2, width),
            width=16,
            queries=600,
            neighbours=32,
        )
    ),
)
