# SPDX-License-Identifier: Apache-2.0
"""MonoTAKD on the embedded world in KITTI's layout: one camera learns from LiDAR and true depth.

Teacher and assistant are trained before; ``monotakd_world_kitti_chain`` is all in one command.
Weights are CMKD's: with the paper's 1 the response drowns the means over maps (method's page).
"""

from mmengine.config import read_base

with read_base():
    from .caddn_world_kitti import *

from lidistill.methods import MonoTAKD

teacher = dict(
    model=lidar_detector, checkpoint=f"work_dirs/caddn_world_kitti_teacher/iter_{max_iters}.pth"
)
assistant = dict(
    model=assistant_detector,
    checkpoint=f"work_dirs/caddn_world_kitti_assistant/iter_{max_iters}.pth",
)
model = dict(
    type=MonoTAKD,
    student=student_detector,
    teachers=dict(teacher=teacher, assistant=assistant),
    weights=dict(intra=32.0, cross=32.0, response=2.0),
)
