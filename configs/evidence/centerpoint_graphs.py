# SPDX-License-Identifier: Apache-2.0
"""PointDistiller on pillars in the plateau table: a student of a quarter of the channels."""

from mmengine.config import read_base

with read_base():
    from .centerpoint import *

from lidistill.methods import PointDistiller
from lidistill.models.detectors.compress import compressed_detector

teacher = model
model = dict(
    type=PointDistiller,
    student=dict(teacher, type=compressed_detector, encoder=0.25, backbone=0.25, head=0.25),
    teacher=dict(model=teacher, checkpoint=f"work_dirs/centerpoint/iter_{max_iters}.pth"),
    graphs=dict(
        pillars=dict(
            tap="pts_voxel_encoder",
            channels=(width // 4, width),
            width=16,
            queries=600,
            neighbours=32,
        )
    ),
)
