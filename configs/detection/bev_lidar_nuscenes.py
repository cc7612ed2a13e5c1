# SPDX-License-Identifier: Apache-2.0
"""BEV detector of LiDAR at UniDistill's size, nuScenes: 20 epochs, steps as in its paper."""

from mmengine.config import read_base

with read_base():
    from .._base_.bev_detectors_nuscenes import *
    from .._base_.bev_nuscenes import *
    from .._base_.detection_schedule import *
    from .._base_.runtime import *

model = lidar_detector
max_iters = 20 * 28130 // 4
train_cfg.update(max_iters=max_iters)
param_scheduler[1].update(end=max_iters, T_max=max_iters)

# No image is read: the detector would not look at it.
pack.update(keys=("points", "gt_bboxes_3d", "gt_labels_3d"))
pack_inputs.update(keys=("points",))
train_dataloader["dataset"]["dataset"].update(
    pipeline=[
        *(load_keyframe, load_sweeps, *load_boxes, augment_bev),
        *(points_in_range, boxes_in_range, named_boxes, shuffle, pack),
    ],
    modality=dict(use_lidar=True, use_camera=False),
)
test_dataloader["dataset"].update(
    pipeline=[load_keyframe, load_sweeps, points_in_range, pack_inputs],
    modality=dict(use_lidar=True, use_camera=False),
)
