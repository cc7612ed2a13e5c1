# SPDX-License-Identifier: Apache-2.0
"""The plateau tables' CenterPoint from a checkpoint of centerpoint_pretrain."""

from mmengine.config import read_base

with read_base():
    from .centerpoint import *

from lidistill.hooks.pretrained import PretrainedParts

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
