# SPDX-License-Identifier: Apache-2.0
"""X-Ray on SECOND's encoder: student and teacher are the same network."""

from mmengine.config import read_base

with read_base():
    from .._base_.xray_center import *
    from .centerpoint_voxels_cars import *

both.update(bank=f"{data_root}/object_bank")
train_dataloader["dataset"]["dataset"].update(
    pipeline=[*load_points, both, *load_boxes, *augment, *pack_train, split]
)
checkpoint = f"work_dirs/centerpoint_voxels_cars_xray_teacher/iter_{max_iters}.pth"
xray.update(heads=heads[:1])  # one task
model = dict(xray, student=model, teacher=dict(model=model, checkpoint=checkpoint))
