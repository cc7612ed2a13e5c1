# SPDX-License-Identifier: Apache-2.0
"""CenterPoint on pillars, embedded world, from a SLidR checkpoint of centerpoint_world_pretrain."""

from mmengine.config import read_base

with read_base():
    from ..._base_.centerpoint_pillar_world import *
    from ..._base_.detection_world_nuscenes import *

from lidistill.hooks.pretrained import PretrainedParts

model = detector
custom_hooks = [
    *custom_hooks,
    dict(
        type=PretrainedParts,
        checkpoint="stage://pretrain",
        parts=dict(
            pts_voxel_encoder="student.voxel_encoder",
            pts_backbone="student.backbone",
            pts_neck="student.neck",
        ),
    ),
]
