# SPDX-License-Identifier: Apache-2.0
"""MonoTAKD on the embedded world: cameras learn from LiDAR and from cameras with true depth.

Teacher and assistant are trained before, see ``bevdepth_world_chain`` for all in one command.
Terms are weighted alike, as the paper's total loss adds them up.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.bev_detectors_world import *
    from .._base_.bev_world import *

from lidistill.methods import MonoTAKD
from lidistill.models.bev_blocks.alignment import TwoBranches
from lidistill.models.view_transforms.lift_splat import TrueDepth

guessed = camera["view_transform"]
true_depth = dict(guessed, type=TrueDepth, blind="nothing", depth_weight=0.0)
assistant_detector = dict(camera_detector, camera=dict(camera, view_transform=true_depth))
branches = dict(type=TwoBranches, channels=bev_channels)
model = dict(
    type=MonoTAKD,
    student=dict(camera_detector, camera=dict(camera, branches=branches)),
    teachers=dict(
        teacher=dict(
            model=lidar_detector, checkpoint=f"work_dirs/bev_lidar_world/iter_{max_iters}.pth"
        ),
        assistant=dict(
            model=assistant_detector,
            checkpoint=f"work_dirs/bevdepth_world_assistant/iter_{max_iters}.pth",
        ),
    ),
)
