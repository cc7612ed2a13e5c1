# SPDX-License-Identifier: Apache-2.0
"""X-Ray's task: CenterPoint with half of its channels, cars within 29 m, embedded world."""

from mmengine.config import read_base

with read_base():
    from .centerpoint import *

from lidistill.models.detectors.compress import compressed_detector

classes = ("car",)
pack_train[2].update(classes=classes)
train_dataloader["dataset"]["dataset"].update(
    metainfo=dict(classes=classes), pipeline=[*load_points, *load_boxes, *augment, *pack_train]
)
test_dataloader["dataset"].update(metainfo=dict(classes=classes))
detector["changes"]["pts_bbox_head"].update(tasks=[dict(num_class=1, class_names=["car"])])
model = dict(detector, type=compressed_detector, encoder=0.5, backbone=0.5, head=0.5)
