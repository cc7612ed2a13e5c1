# SPDX-License-Identifier: Apache-2.0
"""Image-LiDAR pairs of KITTI's data sets, one camera, sized for two CPU cores.

Below ``data_root`` stand converted data sets in KITTI's layouts, and ``folds`` that leave one
sequence of SemanticKITTI out (``lidistill create_data folds``). Scans are cut to the camera's view
for pretraining: the rest has no pair, and is most of the arithmetic.
"""

from mmengine.config import read_base

with read_base():
    from .nuscenes_pairs import *


from lidistill.datasets.scan_transforms import LoadSemanticKittiLabels
from lidistill.datasets.scans import LidarScans
from lidistill.datasets.transforms import KeepPairedPoints, ResizeImages
from lidistill.geometry.voxels import CartesianVoxels

data_root = "data/real"
fold = "folds/08"  # the benchmark's validation sequence; any of folds/
superpixels_dir = f"{data_root}/superpixels/slic_150"
crop_size = (128, 416)  # KITTI's images are 3.3 times as wide as high

voxelize = dict(
    type=Voxelize,
    voxels=dict(
        type=CartesianVoxels,
        size=(0.2, 0.2, 0.2),
        point_range=(-51.2, -51.2, -4.0, 51.2, 51.2, 8.8),
    ),
    features=("intensity", "z"),  # reflectance 0..1, metres
)
load_pairs = [
    dict(type=LoadPoints),
    dict(type=LoadImages),
    dict(type=LoadSuperpixels),
    dict(type=PairPoints),
    dict(type=KeepPairedPoints),
]
train_pipeline = [
    *load_pairs,
    dict(type=RotateFlipPoints),
    dict(type=DropCuboid, min_pairs=200),
    dict(type=ResizedCropImages, size=crop_size, ratio=(2.6, 3.6), min_pairs=200),
    dict(type=FlipImages),
    voxelize,
    dict(type=PackPairs),
]
probe_pipeline = [dict(type=LoadPoints), dict(type=LoadSemanticKittiLabels), voxelize]
train_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)
train_dataloader["dataset"].update(
    data_root=data_root,
    ann_file=f"{fold}/pretrain.pkl",
    superpixels_dir=superpixels_dir,
    pipeline=train_pipeline,
)
probe_train_dataloader.update(num_workers=0)
probe_train_dataloader["dataset"] = dict(
    type=LidarScans,
    ann_file=f"{fold}/train.pkl",
    data_root=data_root,
    pipeline=probe_pipeline,
    every_scan=2,  # of ten a second
)
test_dataloader.update(num_workers=0)
test_dataloader["dataset"] = dict(
    type=LidarScans,
    ann_file=f"{fold}/val.pkl",
    data_root=data_root,
    pipeline=probe_pipeline,
)

# whole images with labelled points, for the probe of the image teacher
teacher_pipeline = [
    dict(type=LoadPoints),
    dict(type=LoadSemanticKittiLabels),
    dict(type=LoadImages),
    dict(type=LoadSuperpixels),
    dict(type=PairPoints),
    dict(type=KeepPairedPoints),
    dict(type=ResizeImages, size=crop_size),
    voxelize,
    dict(type=PackPairs),
]
teacher_dataloaders = {
    split: dict(
        batch_size=1,
        num_workers=0,
        sampler=dict(type=DefaultSampler, shuffle=False),
        dataset=dict(
            type=ImageLidarPairs,
            ann_file=f"{fold}/{split}.pkl",
            data_root=data_root,
            superpixels_dir=superpixels_dir,
            pipeline=teacher_pipeline,
        ),
        collate_fn=dict(type=collate_pairs),
    )
    for split in ("train", "val")
}
