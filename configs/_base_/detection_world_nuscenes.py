# SPDX-License-Identifier: Apache-2.0
"""Detection on the embedded world in nuScenes' layout, one sweep a frame: sized for one CPU core.

Sizes: research/embedded_world.md, section 9. Single sweeps have no time column.
"""

from mmengine.config import read_base

with read_base():
    from .detection_nuscenes import *
    from .detection_world import *

data_root = "data/world/nuscenes"
point_range = (-38.4, -38.4, -5.0, 38.4, 38.4, 3.0)

load_points = [
    dict(type=LoadCheckedPoints, load_dim=5, use_dim=[0, 1, 2, 3]),
]
for step in (pack_train[0], pack_train[1], pack_test[0]):
    step.update(point_cloud_range=point_range)
train_dataloader.update(batch_size=batch_size, num_workers=0, persistent_workers=False)
train_dataloader["dataset"]["dataset"].update(
    data_root=data_root, pipeline=[*load_points, *load_boxes, *augment, *pack_train]
)
test_dataloader.update(num_workers=0)
test_dataloader["dataset"].update(data_root=data_root, pipeline=[*load_points, *pack_test])
test_evaluator.update(ann_file=f"{data_root}/lidistill_infos_val.pkl", data_root=data_root)
