# SPDX-License-Identifier: Apache-2.0
"""mmdet3d's own nuScenes data set and transforms on our info files, scored by the devkit.

As in mmdet3d's CenterPoint configs, without pasted objects and class-balanced repetition. The data
set leaves boxes without a LiDAR point out of the training, as the evaluation does.
"""

from mmdet3d.datasets import NuScenesDataset
from mmdet3d.datasets.transforms import (
    GlobalRotScaleTrans,
    LoadAnnotations3D,
    ObjectNameFilter,
    ObjectRangeFilter,
    Pack3DDetInputs,
    PointShuffle,
    PointsRangeFilter,
    RandomFlip3D,
)
from mmengine.dataset import DefaultSampler
from mmengine.runner import TestLoop

from lidistill.datasets.detections import SeededDetections
from lidistill.datasets.point_files import LoadCheckedPoints, LoadCheckedSweeps
from lidistill.datasets.sampler import SeededSampler
from lidistill.evaluation.nuscenes.metric import NuScenesDetection

data_root = "data/nuscenes"
point_range = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0)
classes = (  # in the order of CenterPoint's tasks: a label is an index into these
    "car",
    "truck",
    "construction_vehicle",
    "bus",
    "trailer",
    "barrier",
    "motorcycle",
    "bicycle",
    "pedestrian",
    "traffic_cone",
)
load_points = [  # x, y, z, intensity, seconds before the keyframe
    dict(type=LoadCheckedPoints, load_dim=5, use_dim=5),
    dict(
        type=LoadCheckedSweeps,
        sweeps_num=9,
        use_dim=[0, 1, 2, 3, 4],
        pad_empty_sweeps=True,
        remove_close=True,
    ),
]
load_boxes = [dict(type=LoadAnnotations3D, with_bbox_3d=True, with_label_3d=True)]
augment = [
    dict(
        type=GlobalRotScaleTrans,
        rot_range=[-0.3925, 0.3925],
        scale_ratio_range=[0.95, 1.05],
        translation_std=[0, 0, 0],
    ),
    dict(
        type=RandomFlip3D,
        sync_2d=False,
        flip_ratio_bev_horizontal=0.5,
        flip_ratio_bev_vertical=0.5,
    ),
]
pack_train = [
    dict(type=PointsRangeFilter, point_cloud_range=point_range),
    dict(type=ObjectRangeFilter, point_cloud_range=point_range),
    dict(type=ObjectNameFilter, classes=classes),
    dict(type=PointShuffle),
    dict(type=Pack3DDetInputs, keys=["points", "gt_bboxes_3d", "gt_labels_3d"]),
]
pack_test = [
    dict(type=PointsRangeFilter, point_cloud_range=point_range),
    dict(type=Pack3DDetInputs, keys=["points"]),
]
frames = dict(
    type=NuScenesDataset,
    data_root=data_root,
    ann_file="lidistill_infos_train.pkl",
    data_prefix=dict(pts="samples/LIDAR_TOP", sweeps="sweeps/LIDAR_TOP"),
    metainfo=dict(classes=classes),
    pipeline=[*load_points, *load_boxes, *augment, *pack_train],
)
train_dataloader = dict(
    batch_size=4,
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
        type=NuScenesDataset,
        data_root=data_root,
        ann_file="lidistill_infos_val.pkl",
        data_prefix=dict(pts="samples/LIDAR_TOP", sweeps="sweeps/LIDAR_TOP"),
        metainfo=dict(classes=classes),
        pipeline=[*load_points, *pack_test],
        test_mode=True,
    ),
)
test_cfg = dict(type=TestLoop)
test_evaluator = dict(
    type=NuScenesDetection,
    ann_file=f"{data_root}/lidistill_infos_val.pkl",
    data_root=data_root,
)
