# SPDX-License-Identifier: Apache-2.0
"""Labelled scans of SemanticKITTI, as the SLidR authors fine-tune on them."""

from mmengine.config import read_base

with read_base():
    from .nuscenes_labels import *

from lidistill.converters.semantic_kitti.labels import SEMANTIC_KITTI_CLASSES
from lidistill.datasets.scan_transforms import LoadSemanticKittiLabels, OffsetIntensity

data_root = "data/semantickitti"
num_classes = 20
labels = [
    dict(type=LoadSemanticKittiLabels),
    dict(type=OffsetIntensity, offset=1.0),  # the authors' input; leave the line out for plain
]
train_pipeline = [dict(type=LoadPoints), *labels, dict(type=RotateFlipPoints), voxelize]
val_pipeline = [dict(type=LoadPoints), *labels, voxelize]
train_dataloader.update(batch_size=10)
train_dataloader["dataset"].update(
    data_root=data_root, ann_file="semantickitti_infos_train.pkl", pipeline=train_pipeline
)
val_dataloader["dataset"].update(
    data_root=data_root, ann_file="semantickitti_infos_val.pkl", pipeline=val_pipeline
)
test_dataloader = val_dataloader
val_evaluator = dict(type=LidarSegMetric, classes=SEMANTIC_KITTI_CLASSES, protocol="nuscenes")
test_evaluator = val_evaluator
