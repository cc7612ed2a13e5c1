# SPDX-License-Identifier: Apache-2.0
"""Fine-tune the student of ``real_pretrain.py`` on some sequences of SemanticKITTI.

Give the pretraining: ``--cfg-options model.checkpoint=FILE`` (its twin: ``None``), and the number
of labelled sequences: ``train_dataloader.dataset.scenes=1``.
"""

from mmengine.config import read_base

with read_base():
    from .demo_finetune import *

from lidistill.converters.semantic_kitti.labels import SEMANTIC_KITTI_CLASSES
from lidistill.datasets.scan_transforms import LoadSemanticKittiLabels

data_root = "data/real"
fold = "folds/08"
num_classes = 20

voxelize.update(intensity_scale=1.0)  # reflectance 0..1, as in real_pretrain.py
labels = [dict(type=LoadSemanticKittiLabels)]
train_pipeline = [dict(type=LoadPoints), *labels, dict(type=RotateFlipPoints), voxelize]
val_pipeline = [dict(type=LoadPoints), *labels, voxelize]
train_dataloader["dataset"].update(
    data_root=data_root, ann_file=f"{fold}/train.pkl", pipeline=train_pipeline
)
test_dataloader["dataset"].update(
    data_root=data_root, ann_file=f"{fold}/val.pkl", pipeline=val_pipeline
)
test_evaluator = dict(type=LidarSegMetric, classes=SEMANTIC_KITTI_CLASSES, protocol="present")
model.update(num_classes=num_classes)
