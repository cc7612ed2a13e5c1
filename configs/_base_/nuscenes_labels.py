# SPDX-License-Identifier: Apache-2.0
"""Labelled scans in nuScenes' layout, as the SLidR authors fine-tune on them."""

from mmengine.dataset import DefaultSampler

from lidistill.datasets.collate import collate_pairs
from lidistill.datasets.loading import LoadPointLabels, LoadPoints, Voxelize
from lidistill.datasets.sampler import SeededSampler
from lidistill.datasets.scan_transforms import MapPointLabels
from lidistill.datasets.scans import LidarScans
from lidistill.datasets.transforms import RotateFlipPoints
from lidistill.evaluation.label_maps import NUSCENES_CLASSES, NUSCENES_LABEL_TABLE
from lidistill.evaluation.lidarseg_metric import LidarSegMetric
from lidistill.geometry.voxels import CylindricalVoxels

data_root = "data/nuscenes"
num_classes = 17
voxelize = dict(  # as in pretraining, or the weights do not fit the data
    type=Voxelize,
    voxels=dict(type=CylindricalVoxels, size=(0.1, 1.0, 0.1)),
    features=("intensity",),
)
labels = [
    dict(type=LoadPointLabels),
    dict(type=MapPointLabels, table=NUSCENES_LABEL_TABLE),
]
train_pipeline = [dict(type=LoadPoints), *labels, dict(type=RotateFlipPoints), voxelize]
val_pipeline = [dict(type=LoadPoints), *labels, voxelize]

train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type=SeededSampler),
    dataset=dict(
        type=LidarScans,
        ann_file="lidistill_infos_train.pkl",
        data_root=data_root,
        pipeline=train_pipeline,
    ),
    collate_fn=dict(type=collate_pairs),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        type=LidarScans,
        ann_file="lidistill_infos_val.pkl",
        data_root=data_root,
        pipeline=val_pipeline,
    ),
    collate_fn=dict(type=collate_pairs),
)
test_dataloader = val_dataloader
# ``slidr`` instead of ``nuscenes`` counts classes neither present nor predicted with IoU 1
val_evaluator = dict(type=LidarSegMetric, classes=NUSCENES_CLASSES, protocol="nuscenes")
test_evaluator = val_evaluator
