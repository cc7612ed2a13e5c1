# SPDX-License-Identifier: Apache-2.0
"""X-Ray's teacher on the embedded world: object-complete frames, in training and in test."""

from mmengine.config import read_base

with read_base():
    from .detection_world_nuscenes import *
    from .xray_center import *

complete.update(bank=f"{data_root}/object_bank")
train_dataloader["dataset"]["dataset"].update(
    pipeline=[*load_points, complete, *load_boxes, *augment, *pack_train]
)
test_dataloader["dataset"].update(pipeline=[*load_points, complete, *pack_test])
