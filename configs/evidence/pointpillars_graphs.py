# SPDX-License-Identifier: Apache-2.0
"""PointDistiller on BEV maps in the plateau table: a student of a quarter of the channels."""

from mmengine.config import read_base

with read_base():
    from .pointpillars import *

from lidistill.methods import PointDistiller
from lidistill.models.detectors.compress import compressed_detector

teacher = model
small = width // 4
model = dict(
    type=PointDistiller,
    student=dict(teacher, type=compressed_detector, encoder=0.25, backbone=0.25, head=0.25),
    teacher=dict(model=teacher, checkpoint=f"work_dirs/pointpillars/iter_{max_iters}.pth"),
    graphs=dict(
        stage1=dict(
            tap="backbone[0]", channels=(small, width), width=16, queries=256, neighbours=32
        ),
        stage2=dict(
            tap="backbone[1]", channels=(2 * small, 2 * width), width=16, queries=256, neighbours=32
        ),
    ),
    reweight=False,
)
