# SPDX-License-Identifier: Apache-2.0
"""X-Ray's teacher in the table of real drives; no bank holds the drives that are scored."""

from mmengine.config import read_base

with read_base():
    from .._base_.xray_center import *
    from .pointpillars_half import *

complete.update(bank=f"{data_root}/object_bank")
train_dataloader["dataset"]["dataset"].update(
    pipeline=[*load_points, *load_boxes, complete, *augment, *pack_train]
)
