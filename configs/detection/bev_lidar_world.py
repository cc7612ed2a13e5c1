# SPDX-License-Identifier: Apache-2.0
"""BEV detector of LiDAR on the embedded world."""

from mmengine.config import read_base

with read_base():
    from .._base_.bev_detectors_world import *
    from .._base_.bev_world import *

model = lidar_detector

# No image is read: the detector would not look at it.
pack.update(keys=("points", "gt_bboxes_3d", "gt_labels_3d"))
pack_inputs.update(keys=("points",))
train_dataloader["dataset"]["dataset"].update(
    pipeline=[
        *(load_keyframe, *load_boxes, augment_bev),
        *(points_in_range, boxes_in_range, named_boxes, shuffle, pack),
    ],
    modality=dict(use_lidar=True, use_camera=False),
)
test_dataloader["dataset"].update(
    pipeline=[load_keyframe, points_in_range, pack_inputs],
    modality=dict(use_lidar=True, use_camera=False),
)
