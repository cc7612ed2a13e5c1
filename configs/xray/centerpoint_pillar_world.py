# SPDX-License-Identifier: Apache-2.0
"""X-Ray: CenterPoint on pillars taught by its twin on object-complete frames, embedded world."""

from mmengine.config import read_base

with read_base():
    from .._base_.centerpoint_pillar_world import *
    from .._base_.xray_world import *

checkpoint = f"work_dirs/xray_centerpoint_pillar_world_teacher/iter_{max_iters}.pth"
model = dict(xray, student=detector, teacher=dict(model=detector, checkpoint=checkpoint))
