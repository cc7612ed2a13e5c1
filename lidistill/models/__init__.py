# SPDX-License-Identifier: Apache-2.0
"""Networks: students, teachers, heads. Importing this package registers every one of them.

Libraries behind them (spconv, mmdet, transformers) are imported when a network is built.
"""

from lidistill.models.backbones.bev_reader import BEVAtVoxels
from lidistill.models.backbones.sparse_unet import SparseUNet
from lidistill.models.backbones.voxelnet import VoxelNet
from lidistill.models.teachers.colour import LocalColour
from lidistill.models.teachers.pretrain import DenseImageContrast, SupervisedImageTeacher
from lidistill.models.teachers.resnet import ResNetTeacher
from lidistill.models.teachers.small import SmallImageNet
from lidistill.models.teachers.vit import ViTTeacher

__all__ = [
    "BEVAtVoxels",
    "DenseImageContrast",
    "LocalColour",
    "ResNetTeacher",
    "SmallImageNet",
    "SparseUNet",
    "SupervisedImageTeacher",
    "ViTTeacher",
    "VoxelNet",
]
