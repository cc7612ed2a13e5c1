# SPDX-License-Identifier: Apache-2.0
"""X-Ray on the embedded world: the student's frames, the teacher's beside them."""

from mmengine.config import read_base

with read_base():
    from .detection_world_nuscenes import *
    from .xray_center import *

both.update(bank=f"{data_root}/object_bank")
train_dataloader["dataset"]["dataset"].update(
    pipeline=[*load_points, both, *load_boxes, *augment, *pack_train, split]
)
