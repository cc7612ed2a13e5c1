# SPDX-License-Identifier: Apache-2.0
"""X-Ray's teacher: CenterPoint on voxels on object-complete frames, embedded world."""

from mmengine.config import read_base

with read_base():
    from ..detection.centerpoint_voxel_world import *

from lidistill.datasets.object_complete.transforms import ComposeObjectComplete

complete = dict(type=ComposeObjectComplete, bank=f"{data_root}/object_bank")
train_dataloader["dataset"]["dataset"].update(
    pipeline=[*load_points, complete, *load_boxes, *augment, *pack_train]
)
test_dataloader["dataset"].update(pipeline=[*load_points, complete, *pack_test])
