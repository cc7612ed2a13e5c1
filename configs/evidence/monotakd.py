# SPDX-License-Identifier: Apache-2.0
"""MonoTAKD beside CMKD and the student alone in one table: cars, embedded world, KITTI's layout.

``model`` is one of ``models``; the table says which.
"""

from mmengine.config import read_base

with read_base():
    from ..monotakd.monotakd_world_kitti import *

models = dict(
    teacher=lidar_detector,
    assistant=assistant_detector,
    student=camera_detector,
    branches=student_detector,
    cmkd=dict(
        model,
        student=camera_detector,
        teachers=dict(teacher=teacher),
        vis="bev_low",
        weights=dict(cross=32.0, response=2.0),
    ),
    monotakd=model,
)
model = models["student"]
