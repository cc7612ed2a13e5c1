# SPDX-License-Identifier: Apache-2.0
"""CenterPoint (0.1 m voxels) on nuScenes from a checkpoint of centerpointencoder_r50_nuscenes.

Give it: ``--cfg-options custom_hooks.4.checkpoint=FILE``. Fewer labels:
``train_dataloader.dataset.scenes=70`` takes 70 scenes, the authors' 10 %.
"""

from mmengine.config import read_base

with read_base():
    from ...detection.centerpoint_voxel_nuscenes import *

from lidistill.hooks.pretrained import PretrainedParts

custom_hooks = [
    *custom_hooks,
    dict(
        type=PretrainedParts,
        checkpoint="work_dirs/centerpointencoder_r50_nuscenes/latest.pth",
        parts=dict(pts_middle_encoder="student.encoder.encoder"),
    ),
]
