# SPDX-License-Identifier: Apache-2.0
"""Image-LiDAR pairs in nuScenes' layout, with the paper's augmentations at a chosen size."""

from mmengine.dataset import DefaultSampler

from lidistill.datasets.collate import collate_pairs
from lidistill.datasets.loading import (
    LoadImages,
    LoadPointLabels,
    LoadPoints,
    LoadSuperpixels,
    PackPairs,
    PairPoints,
    Voxelize,
)
from lidistill.datasets.pairs_dataset import ImageLidarPairs
from lidistill.datasets.sampler import SeededSampler
from lidistill.datasets.transforms import (
    DropCuboid,
    FlipImages,
    ResizedCropImages,
    RotateFlipPoints,
)
from lidistill.geometry.voxels import CylindricalVoxels

data_root = "data/nuscenes"
superpixels_dir = "data/nuscenes/superpixels/slic_150"
crop_size = (224, 416)  # SLidR, section 4.1
min_pairs = 1024  # below, a crop or a cuboid is drawn again; the authors' number
voxelize = dict(  # SLidR: cylindrical, 0.1 m, 1 degree, 0.1 m; intensity is the only input
    type=Voxelize,
    voxels=dict(type=CylindricalVoxels, size=(0.1, 1.0, 0.1)),
    features=("intensity",),
)

train_pipeline = [
    dict(type=LoadPoints),
    dict(type=LoadImages),
    dict(type=LoadSuperpixels),
    dict(type=PairPoints),
    dict(type=RotateFlipPoints),
    dict(type=DropCuboid, min_pairs=min_pairs),
    dict(type=ResizedCropImages, size=crop_size, min_pairs=min_pairs),
    dict(type=FlipImages),
    voxelize,
    dict(type=PackPairs),
]
probe_pipeline = [dict(type=LoadPoints), dict(type=LoadPointLabels), voxelize]

train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type=SeededSampler),
    dataset=dict(
        type=ImageLidarPairs,
        ann_file="lidistill_infos_train.pkl",
        data_root=data_root,
        superpixels_dir=superpixels_dir,
        pipeline=train_pipeline,
    ),
    collate_fn=dict(type=collate_pairs),
)
probe_train_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        type=ImageLidarPairs,
        ann_file="lidistill_infos_train.pkl",
        data_root=data_root,
        pipeline=probe_pipeline,
    ),
    collate_fn=dict(type=collate_pairs),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        type=ImageLidarPairs,
        ann_file="lidistill_infos_val.pkl",
        data_root=data_root,
        pipeline=probe_pipeline,
    ),
    collate_fn=dict(type=collate_pairs),
)
