# SPDX-License-Identifier: Apache-2.0
"""X-Ray's task for PointPillars with half of its channels: cars within 29 m, nuScenes' layout."""

from mmengine.config import read_base

with read_base():
    from .._base_.detection_world_nuscenes import *
    from .._base_.pointpillars_world import *

from lidistill.models.detectors.compress import compressed_detector

max_iters = 800
classes = ("car",)
point_range = detector_range = (-28.8, -28.8, -5.0, 28.8, 28.8, 3.0)
for step in (pack_train[0], pack_train[1], pack_test[0]):
    step.update(point_cloud_range=point_range)
pack_train[2].update(classes=classes)
no_speeds = dict(metainfo=dict(classes=classes), with_velocity=False)  # the anchors have none
train_dataloader["dataset"]["dataset"].update(
    no_speeds, pipeline=[*load_points, *load_boxes, *augment, *pack_train]
)
test_dataloader["dataset"].update(no_speeds, pipeline=[*load_points, *pack_test])
train_cfg.update(max_iters=max_iters)
param_scheduler[1].update(end=max_iters, T_max=max_iters)
detector.update(
    config="mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-car.py",
    point_range=detector_range,
    voxel_size=(0.4, 0.4, 8.0),
)
model = dict(detector, type=compressed_detector, encoder=0.5, backbone=0.5, head=0.5)
