# SPDX-License-Identifier: Apache-2.0
"""Detection on the embedded world in KITTI's layout: sized for one CPU core."""

from mmengine.config import read_base

with read_base():
    from .detection_kitti import *
    from .detection_world import *

data_root = "data/world/kitti"
point_range = (0.0, -20.48, -3.0, 40.96, 20.48, 1.0)

for step in (pack_train[0], pack_train[1], pack_test[0]):
    step.update(point_cloud_range=point_range)
train_dataloader.update(batch_size=batch_size, num_workers=0, persistent_workers=False)
train_dataloader["dataset"]["dataset"].update(
    data_root=data_root, pipeline=[*load_points, *load_boxes, *augment, *pack_train]
)
test_dataloader.update(num_workers=0)
test_dataloader["dataset"].update(data_root=data_root, pipeline=[*load_points, *pack_test])
test_evaluator.update(ann_file=f"{data_root}/kitti_infos_val.pkl", overlaps="loose")
