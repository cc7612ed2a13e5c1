# SPDX-License-Identifier: Apache-2.0
"""A chain of two assistants: one with true depth, one that sees half of it, then the student.

Ours, after "Densely Guided Knowledge Distillation using Multiple Teacher Assistants" (ICCV 2021) as
far as there is more than one step: each residual has a branch of its own.
"""

from mmengine.config import read_base

with read_base():
    from .monotakd_world_kitti import *

half_depth = dict(true_depth, true_depth=0.5)
assistant_2 = dict(
    model=dict(camera_detector, camera=dict(camera, view_transform=half_depth)),
    checkpoint=f"work_dirs/caddn_world_kitti_half_depth/iter_{max_iters}.pth",
)
branches = dict(branches, residuals=2)
model = dict(
    model,
    student=dict(camera_detector, camera=dict(camera, branches=branches)),
    teachers=dict(teacher=teacher, assistant_1=assistant, assistant_2=assistant_2),
)
