# SPDX-License-Identifier: Apache-2.0
"""X-Ray's teacher on SECOND's encoder: the student's own network, object-complete frames."""

from mmengine.config import read_base

with read_base():
    from .._base_.xray_center import *
    from .centerpoint_voxels_cars import *

complete.update(bank=f"{data_root}/object_bank")
train_dataloader["dataset"]["dataset"].update(
    pipeline=[*load_points, complete, *load_boxes, *augment, *pack_train]
)
test_dataloader["dataset"].update(pipeline=[*load_points, complete, *pack_test])
