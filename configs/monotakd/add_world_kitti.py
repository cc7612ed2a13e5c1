# SPDX-License-Identifier: Apache-2.0
"""After ADD: one camera learns from its own network with the depth of each object; no LiDAR map.

Map and answers are compared; ADD's attention between student and teacher is left out.
"""

from mmengine.config import read_base

with read_base():
    from .add_world_kitti_teacher import *

from lidistill.methods import MonoTAKD

model = dict(
    type=MonoTAKD,
    student=camera_detector,
    teachers=dict(
        teacher=dict(
            model=teacher_detector,
            checkpoint=f"work_dirs/add_world_kitti_teacher/iter_{max_iters}.pth",
        )
    ),
    vis="bev_low",
    weights=dict(cross=1.0, response=1.0),
)
