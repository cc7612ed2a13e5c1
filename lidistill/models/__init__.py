# SPDX-License-Identifier: Apache-2.0
"""Networks: students, teachers, heads. Importing this package registers every one of them.

Libraries behind them (spconv, mmdet, transformers) are imported when a network is built.
"""

from lidistill.models.backbones.bev_reader import BEVAtVoxels
from lidistill.models.backbones.image_efficientnet import EfficientNetPyramid
from lidistill.models.backbones.image_vit import ViTPyramid
from lidistill.models.backbones.mmdet3d_encoders import (
    MinkUNetAtVoxels,
    PillarsAtVoxels,
    SparseEncoderMap,
)
from lidistill.models.backbones.sparse_unet import SparseUNet
from lidistill.models.backbones.voxelnet import VoxelNet
from lidistill.models.detectors.bev import BEVDetector
from lidistill.models.detectors.bev_fusers import ConvFuser, GatedFuser
from lidistill.models.detectors.mmdet3d import detector_part, mmdet3d_detector
from lidistill.models.teachers.colour import LocalColour
from lidistill.models.teachers.efficientnet_lite import EfficientNetLiteTeacher
from lidistill.models.teachers.pretrain import DenseImageContrast, SupervisedImageTeacher
from lidistill.models.teachers.resnet import ResNetTeacher
from lidistill.models.teachers.small import SmallImageNet
from lidistill.models.teachers.vit import ViTTeacher
from lidistill.models.view_transforms.depth_nets import CameraAwareDepthNet, PlainDepthNet
from lidistill.models.view_transforms.lift_splat import LiftSplat, TrueDepth

__all__ = [
    "BEVAtVoxels",
    "BEVDetector",
    "CameraAwareDepthNet",
    "ConvFuser",
    "DenseImageContrast",
    "EfficientNetLiteTeacher",
    "EfficientNetPyramid",
    "GatedFuser",
    "LiftSplat",
    "LocalColour",
    "MinkUNetAtVoxels",
    "PillarsAtVoxels",
    "PlainDepthNet",
    "ResNetTeacher",
    "SmallImageNet",
    "SparseEncoderMap",
    "SparseUNet",
    "SupervisedImageTeacher",
    "TrueDepth",
    "ViTPyramid",
    "ViTTeacher",
    "VoxelNet",
    "detector_part",
    "mmdet3d_detector",
]
