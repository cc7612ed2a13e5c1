# SPDX-License-Identifier: Apache-2.0
"""Image-LiDAR pairs of SemanticKITTI, all 19,130 training scans, at the sizes of the papers.

KITTI's other layouts take two options: ``train_dataloader.dataset.data_root=data/kitti_raw``
``train_dataloader.dataset.ann_file=kittiraw_infos_train.pkl`` (raw data, full scans), or
``data/kitti`` and ``kitti_infos_pretrain.pkl`` (object benchmark).
"""

from mmengine.config import read_base

with read_base():
    from .nuscenes_pairs import *

from lidistill.datasets.scan_transforms import LoadSemanticKittiLabels
from lidistill.datasets.scans import LidarScans

data_root = "data/semantickitti"
superpixels_dir = f"{data_root}/superpixels/slic_150"
crop_size = (192, 608)  # of 370 x 1226 and more; SLidR's 224 x 416 has as many pixels to 20 %
aspect = (2.6, 3.6)

train_pipeline = [
    dict(type=LoadPoints),
    dict(type=LoadImages),
    dict(type=LoadSuperpixels),
    dict(type=PairPoints),
    dict(type=RotateFlipPoints),
    dict(type=DropCuboid, min_pairs=min_pairs),
    dict(type=ResizedCropImages, size=crop_size, ratio=aspect, min_pairs=min_pairs),
    dict(type=FlipImages),
    voxelize,
    dict(type=PackPairs),
]
probe_pipeline = [dict(type=LoadPoints), dict(type=LoadSemanticKittiLabels), voxelize]
train_dataloader.update(batch_size=16)  # one camera a sample: 16 images, nuScenes' 4 x 6 are 24
train_dataloader["dataset"].update(
    data_root=data_root,
    ann_file="semantickitti_infos_train.pkl",
    superpixels_dir=superpixels_dir,
    pipeline=train_pipeline,
)
probe_train_dataloader["dataset"] = dict(
    type=LidarScans,
    ann_file="semantickitti_infos_train.pkl",
    data_root=data_root,
    pipeline=probe_pipeline,
    every_scan=10,
)
test_dataloader["dataset"] = dict(
    type=LidarScans,
    ann_file="semantickitti_infos_val.pkl",
    data_root=data_root,
    pipeline=probe_pipeline,
)
