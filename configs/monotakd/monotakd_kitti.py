# SPDX-License-Identifier: Apache-2.0
"""MonoTAKD on KITTI: SECOND on LiDAR teaches, an assistant with true depth, one camera learns.

Teacher and assistant are trained before; ``monotakd_kitti_chain`` is all in one command.
"""

from mmengine.config import read_base

with read_base():
    from .caddn_kitti import *

from lidistill.methods import MonoTAKD

model = dict(
    type=MonoTAKD,
    student=student_detector,
    teachers=dict(
        teacher=dict(model=lidar_detector, checkpoint="work_dirs/monotakd_kitti_teacher.pth"),
        assistant=dict(
            model=assistant_detector, checkpoint="work_dirs/monotakd_kitti_assistant.pth"
        ),
    ),
)
