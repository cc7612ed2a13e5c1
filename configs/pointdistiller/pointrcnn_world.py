# SPDX-License-Identifier: Apache-2.0
"""PointDistiller on PointRCNN's points, embedded world; train the teacher first, as there.

As in the paper's form for points: what the last feature propagation gives, a maximum over the
neighbours.
"""

from mmengine.config import read_base

with read_base():
    from ..detection.pointrcnn_world import *

from lidistill.methods import PointDistiller
from lidistill.models.detectors.compress import compressed_detector

teacher = model
model = dict(
    type=PointDistiller,
    student=dict(teacher, type=compressed_detector, encoder=0.5, backbone=0.5, head=0.5),
    teacher=dict(model=teacher, checkpoint=f"work_dirs/pointrcnn_world/iter_{max_iters}.pth"),
    graphs=dict(
        # a quarter of KITTI's points: N and K shrink with them
        points=dict(
            tap="neck.FP_modules.3",
            channels=(width // 2, width),
            width=width // 2,
            queries=1500,
            neighbours=32,
        )
    ),
    pool="max",
)
