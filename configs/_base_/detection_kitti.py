# SPDX-License-Identifier: Apache-2.0
"""mmdet3d's own KITTI data set and transforms on our info files, scored on the CPU.

As in mmdet3d's KITTI configs, without pasted and jittered objects. Full scans are cut to what the
camera sees, since KITTI labels nothing else; boxes without a point are left out of the training.
"""

from mmdet3d.datasets.transforms import (
    GlobalRotScaleTrans,
    LoadAnnotations3D,
    ObjectRangeFilter,
    Pack3DDetInputs,
    PointShuffle,
    PointsRangeFilter,
    RandomFlip3D,
)
from mmengine.dataset import DefaultSampler
from mmengine.runner import TestLoop

from lidistill.datasets.detections import (
    DropEmptyBoxes,
    KeepPointsInImage,
    SeededDetections,
    kitti_frames,
)
from lidistill.datasets.point_files import LoadCheckedPoints
from lidistill.datasets.sampler import SeededSampler
from lidistill.evaluation.kitti.metric import KittiDetection

data_root = "data/kitti"
point_range = (0.0, -40.0, -3.0, 70.4, 40.0, 1.0)
classes = ("Pedestrian", "Cyclist", "Car")  # in the order of mmdet3d's anchors
load_points = [
    dict(type=LoadCheckedPoints, load_dim=4, use_dim=4),
    dict(type=KeepPointsInImage),
]
load_boxes = [
    dict(type=LoadAnnotations3D, with_bbox_3d=True, with_label_3d=True),
    dict(type=DropEmptyBoxes),
]
augment = [
    dict(type=RandomFlip3D, flip_ratio_bev_horizontal=0.5),
    dict(
        type=GlobalRotScaleTrans,
        rot_range=[-0.78539816, 0.78539816],
        scale_ratio_range=[0.95, 1.05],
    ),
]
pack_train = [
    dict(type=PointsRangeFilter, point_cloud_range=point_range),
    dict(type=ObjectRangeFilter, point_cloud_range=point_range),
    dict(type=PointShuffle),
    dict(type=Pack3DDetInputs, keys=["points", "gt_bboxes_3d", "gt_labels_3d"]),
]
pack_test = [
    dict(type=PointsRangeFilter, point_cloud_range=point_range),
    dict(type=Pack3DDetInputs, keys=["points"]),
]
frames = dict(
    type=kitti_frames,
    data_root=data_root,
    ann_file="kitti_infos_train.pkl",
    data_prefix=dict(pts="training/velodyne"),
    metainfo=dict(classes=classes),
    pipeline=[*load_points, *load_boxes, *augment, *pack_train],
)
train_dataloader = dict(
    batch_size=6,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type=SeededSampler),
    dataset=dict(type=SeededDetections, dataset=frames),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        type=kitti_frames,
        data_root=data_root,
        ann_file="kitti_infos_val.pkl",
        data_prefix=dict(pts="training/velodyne"),
        metainfo=dict(classes=classes),
        pipeline=[*load_points, *pack_test],
        test_mode=True,
    ),
)
test_cfg = dict(type=TestLoop)
test_evaluator = dict(type=KittiDetection, ann_file=f"{data_root}/kitti_infos_val.pkl")
