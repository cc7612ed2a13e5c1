# SPDX-License-Identifier: Apache-2.0
"""UniDistill between two of mmdet3d's own CenterPoints, the student at half the width.

One sensor on both sides, so no path of the paper; weights of LiDAR to camera.
"""

from mmengine.config import read_base

with read_base():
    from ..detection.centerpoint_pillar_world import *

from lidistill.distill.connectors import Conv1x1
from lidistill.methods import UniDistill
from lidistill.models.detectors.compress import compressed_detector

teacher = model
model = dict(
    type=UniDistill,
    student=dict(teacher, type=compressed_detector, encoder=0.5, backbone=0.5, head=0.5),
    teacher=dict(
        model=teacher, checkpoint=f"work_dirs/centerpoint_pillar_world/iter_{max_iters}.pth"
    ),
    low="pts_middle_encoder",
    high="pts_neck[0]",
    adapters=dict(
        low=dict(type=Conv1x1, in_channels=width // 2, out_channels=width),
        high=dict(type=Conv1x1, in_channels=3 * width // 2, out_channels=3 * width),
    ),
    weights=dict(feature=100.0, relation=40.0, response=10.0),
)
