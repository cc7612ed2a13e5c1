# SPDX-License-Identifier: Apache-2.0
"""X-Ray: CenterPoint on 0.1 m voxels taught by its twin on object-complete frames, nuScenes."""

from mmengine.config import read_base

with read_base():
    from .._base_.xray_center import *
    from ..detection.centerpoint_voxel_nuscenes import *

both.update(bank=f"{data_root}/object_bank", time_column=4)
train_dataloader["dataset"]["dataset"].update(
    pipeline=[*load_points, both, *load_boxes, *augment, *pack_train, split]
)
parts = ("reg", "height", "dim", "rot", "vel")
heads = [
    dict(
        classes=f"pts_bbox_head.task_heads.{task}.heatmap",
        boxes=[f"pts_bbox_head.task_heads.{task}.{part}" for part in parts],
    )
    for task in range(6)
]
checkpoint = f"work_dirs/xray_centerpoint_voxel_nuscenes_teacher/iter_{max_iters}.pth"
model = dict(xray, student=model, teacher=dict(model=model, checkpoint=checkpoint), heads=heads)
