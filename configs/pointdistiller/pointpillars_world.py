# SPDX-License-Identifier: Apache-2.0
"""PointDistiller on pillars, embedded world: half the channels everywhere (4x fewer parameters).

Train the teacher first: ``tools/train.py configs/detection/pointpillars_world.py --work-dir
work_dirs/pointpillars_world``. Its weights are expected there.
"""

from mmengine.config import read_base

with read_base():
    from ..detection.pointpillars_world import *

from lidistill.methods import PointDistiller
from lidistill.models.detectors.compress import compressed_detector

teacher = model
model = dict(
    type=PointDistiller,
    student=dict(teacher, type=compressed_detector, encoder=0.5, backbone=0.5, head=0.5),
    teacher=dict(model=teacher, checkpoint=f"work_dirs/pointpillars_world/iter_{max_iters}.pth"),
    graphs=dict(
        # a world's scan has a tenth of KITTI's pillars: N and K shrink with it
        pillars=dict(
            tap="voxel_encoder",
            channels=(width // 2, width),
            width=16,
            queries=600,
            neighbours=32,
        )
    ),
)
