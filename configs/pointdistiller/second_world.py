# SPDX-License-Identifier: Apache-2.0
"""PointDistiller on SECOND's BEV backbone, embedded world; train the teacher first, as there.

All places alike, as the release has it on maps, and the weight: `lidistill evidence graphs_second`.
"""

from mmengine.config import read_base

with read_base():
    from ..detection.second_world import *

from lidistill.methods import PointDistiller
from lidistill.models.detectors.compress import compressed_detector

teacher = model
model = dict(
    type=PointDistiller,
    student=dict(teacher, type=compressed_detector, encoder=0.5, backbone=0.5, head=0.5),
    teacher=dict(model=teacher, checkpoint=f"work_dirs/second_world/iter_{max_iters}.pth"),
    graphs=dict(
        stage1=dict(tap="backbone[0]", channels=(16, 32), width=16, queries=256, neighbours=32),
        stage2=dict(tap="backbone[1]", channels=(32, 64), width=16, queries=256, neighbours=32),
    ),
    reweight=False,
    weights=dict(stage1=4.0, stage2=4.0),
)
