# SPDX-License-Identifier: Apache-2.0
"""X-Ray's teacher: CenterPoint on 0.1 m voxels on object-complete frames, nuScenes.

The keyframe and nine sweeps are loaded, then objects are completed at the keyframe's time.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.xray_center import *
    from ..detection.centerpoint_voxel_nuscenes import *

complete.update(bank=f"{data_root}/object_bank", time_column=4)
train_dataloader["dataset"]["dataset"].update(
    pipeline=[*load_points, complete, *load_boxes, *augment, *pack_train]
)
test_dataloader["dataset"].update(pipeline=[*load_points, complete, *pack_test])
