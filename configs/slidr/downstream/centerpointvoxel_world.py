# SPDX-License-Identifier: Apache-2.0
"""CenterPoint on voxels, embedded world, from a checkpoint of centerpointvoxel_world_pretrain."""

from mmengine.config import read_base

with read_base():
    from ..._base_.centerpoint_voxel_world import *
    from ..._base_.detection_world_nuscenes import *

from lidistill.hooks.pretrained import PretrainedParts

model = detector
custom_hooks = [
    *custom_hooks,
    dict(
        type=PretrainedParts,
        checkpoint="stage://pretrain",
        parts=dict(pts_middle_encoder="student.encoder.encoder"),
    ),
]
