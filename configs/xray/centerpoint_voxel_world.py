# SPDX-License-Identifier: Apache-2.0
"""X-Ray: CenterPoint on voxels taught by its twin on object-complete frames, embedded world."""

from mmengine.config import read_base

with read_base():
    from .._base_.xray_center import *
    from ..detection.centerpoint_voxel_world import *

from lidistill.methods import XRay

both.update(bank=f"{data_root}/object_bank")
train_dataloader["dataset"]["dataset"].update(
    pipeline=[*load_points, both, *load_boxes, *augment, *pack_train, split]
)
teacher = model
model = dict(
    type=XRay,
    student=teacher,
    teacher=dict(
        model=teacher,
        checkpoint=f"work_dirs/xray_centerpoint_voxel_world_teacher/iter_{max_iters}.pth",
    ),
    feature="pts_neck[0]",
    heads=heads,
    weights=dict(feature=1.0, classes=1.0, boxes=0.25),
)
