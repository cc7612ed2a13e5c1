# SPDX-License-Identifier: Apache-2.0
"""SECOND on KITTI from a checkpoint of secondencoder_r50_nuscenes.

Give it: ``--cfg-options custom_hooks.4.checkpoint=FILE``.
The pretraining's voxels are 0.1 x 0.1 x 0.2 m, SECOND's 0.05 x 0.05 x 0.1 m, as in the paper
(SLidR, section 4.3; issue 28 of its repository).
"""

from mmengine.config import read_base

with read_base():
    from ...detection.second_kitti import *

from lidistill.hooks.pretrained import PretrainedParts

custom_hooks = [
    *custom_hooks,
    dict(
        type=PretrainedParts,
        checkpoint="work_dirs/secondencoder_r50_nuscenes/latest.pth",
        parts=dict(middle_encoder="student.encoder.encoder"),
    ),
]
