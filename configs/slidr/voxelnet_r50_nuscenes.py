# SPDX-License-Identifier: Apache-2.0
"""SLidR for detectors: VoxelNet taught by a frozen MoCo v2 ResNet-50, on nuScenes.

Give the teacher's weights: ``--cfg-options model.teacher.model.weights=FILE``
(``moco_v2_800ep_pretrain.pth.tar``).
Make the superpixels first, fewer and larger: ``lidistill superpixels ... --segments 30 --out
data/nuscenes/superpixels/slic_30``.
Numbers: the authors' ``config/slidr_voxelnet.yaml``; what is not set here is as for MinkUNet.
Not as theirs: a voxel averages all of its points (theirs: the first 10, of at most 60,000 voxels);
features read from the map are brought to unit length again.
"""

from mmengine.config import read_base

with read_base():
    from .minkunet_r50_nuscenes import *

from torch.nn import Identity

from lidistill.geometry.voxels import CartesianVoxels
from lidistill.models.backbones.bev_reader import BEVAtVoxels
from lidistill.models.backbones.voxelnet import VoxelNet

batch_size = 6
max_iters = epochs * keyframes // batch_size
superpixels_dir = "data/nuscenes/superpixels/slic_30"

voxelize = dict(
    type=Voxelize,
    voxels=dict(
        type=CartesianVoxels,
        size=(0.1, 0.1, 0.2),
        point_range=(-51.2, -51.2, -5.0, 51.2, 51.2, 3.0),
    ),
    features=("x", "y", "z", "intensity"),
    reduce="mean",
)
train_pipeline = [*train_pipeline[:-2], voxelize, train_pipeline[-1]]  # ..., Voxelize, PackPairs
probe_pipeline = [*probe_pipeline[:-1], voxelize]
train_dataloader.update(batch_size=batch_size)
train_dataloader["dataset"].update(
    superpixels_dir=superpixels_dir, superpixels=dict(segments=30), pipeline=train_pipeline
)
for loader in (probe_train_dataloader, test_dataloader):
    loader["dataset"].update(pipeline=probe_pipeline)

model["student"] = dict(
    type=BEVAtVoxels, encoder=dict(type=VoxelNet, in_channels=4, out_channels=64)
)
model["point_head"] = dict(type=Identity)  # VoxelNet's own last layer brings 64 channels
train_cfg.update(max_iters=max_iters)
optim_wrapper["optimizer"].update(lr=0.01)
for scheduler in param_scheduler:
    scheduler.update(end=max_iters, T_max=max_iters)
