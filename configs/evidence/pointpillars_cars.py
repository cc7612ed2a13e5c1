# SPDX-License-Identifier: Apache-2.0
"""X-Ray's task for PointPillars with half of its channels: cars within 29 m, nuScenes' layout."""

from mmengine.config import read_base

with read_base():
    from .._base_.cars_world import *
    from .._base_.pointpillars_world import *

from lidistill.models.detectors.compress import compressed_detector

detector_range = point_range
no_speeds = dict(metainfo=dict(classes=classes), with_velocity=False)  # the anchors have none
train_dataloader["dataset"]["dataset"].update(
    no_speeds, pipeline=[*load_points, *load_boxes, *augment, *pack_train]
)
test_dataloader["dataset"].update(no_speeds, pipeline=[*load_points, *pack_test])
detector.update(
    config="mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-car.py",
    point_range=detector_range,
    voxel_size=(0.4, 0.4, 8.0),
)
model = dict(detector, type=compressed_detector, encoder=0.5, backbone=0.5, head=0.5)
