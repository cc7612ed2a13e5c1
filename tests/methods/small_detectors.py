# SPDX-License-Identifier: Apache-2.0
"""Unmodified mmdet3d detectors small enough for tests of methods, and a batch for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lidistill.models.detectors.compress import compressed_detector
from lidistill.models.detectors.mmdet3d import mmdet3d_detector
from tests.ops import detector_cases

RANGE = detector_cases.RANGE
SHIPPED = {name: f"mmdet3d::{path}" for name, path in detector_cases.CONFIGS.items()}


def pillars(width: int = 16, voxel: float = 0.64, seed: int = 0) -> nn.Module:
    """PointPillars on a coarse grid; ``width`` channels a pillar."""
    torch.manual_seed(seed)
    return mmdet3d_detector(
        SHIPPED["pointpillars"],
        RANGE,
        (voxel, voxel, 4),
        dict(
            data_preprocessor=dict(voxel_layer=dict(max_voxels=(1600, 1600))),
            voxel_encoder=dict(feat_channels=[width]),
            middle_encoder=dict(in_channels=width),
            backbone=dict(in_channels=width, out_channels=[width] * 3, layer_nums=[1, 1, 1]),
            neck=dict(in_channels=[width] * 3, out_channels=[width] * 3),
            bbox_head=dict(in_channels=3 * width, feat_channels=3 * width),
        ),
    )


def second(width: int = 16, seed: int = 0) -> nn.Module:
    """SECOND; ``width`` channels in its BEV backbone."""
    torch.manual_seed(seed)
    return mmdet3d_detector(
        SHIPPED["second"],
        RANGE,
        (0.4, 0.4, 0.1),
        dict(
            data_preprocessor=dict(voxel_layer=dict(max_voxels=(2000, 2000))),
            backbone=dict(out_channels=[width, 2 * width], layer_nums=[1, 1]),
            neck=dict(in_channels=[width, 2 * width], out_channels=[width, width]),
            bbox_head=dict(in_channels=2 * width, feat_channels=2 * width),
        ),
    )


def centerpoint(width: int = 16, seed: int = 0) -> nn.Module:
    """CenterPoint with sparse convolutions; ``width`` channels in its BEV backbone."""
    torch.manual_seed(seed)
    return mmdet3d_detector(
        SHIPPED["centerpoint"],
        RANGE,
        (0.4, 0.4, 0.1),
        dict(
            data_preprocessor=dict(voxel_layer=dict(max_voxels=(2000, 2000))),
            pts_backbone=dict(out_channels=[width, 2 * width], layer_nums=[1, 1]),
            pts_neck=dict(in_channels=[width, 2 * width], out_channels=[width, width]),
            pts_bbox_head=dict(in_channels=2 * width, share_conv_channel=8),
        ),
    )


def pointrcnn(factor: float = 0.25, seed: int = 0) -> nn.Module:
    """PointRCNN on few points; ``factor`` of the shipped widths, 128 behind its neck."""
    torch.manual_seed(seed)
    return compressed_detector(
        SHIPPED["pointrcnn"],
        changes=dict(
            backbone=dict(num_points=(256, 64, 32, 16)),
            roi_head=dict(
                bbox_roi_extractor=dict(roi_layer=dict(num_sampled_points=64)),
                bbox_head=dict(num_points=(16, 8, -1)),
            ),
            train_cfg=dict(rpn=dict(rpn_proposal=dict(nms_pre=500, nms_post=32))),
            test_cfg=dict(rpn=dict(nms_cfg=dict(nms_pre=500, nms_post=32))),
        ),
        encoder=factor,
        backbone=factor,
        head=factor,
    )


def batch(name: str = "pointpillars", samples: int = 2) -> dict[str, Any]:
    """Cars and ground, with boxes, as mmdet3d's loaders collate it."""
    return detector_cases.make_batch(name, samples)


def settle(detector: nn.Module, name: str) -> nn.Module:
    """Batch norms take the statistics of the batch, else untrained features fade to 1e-7."""
    norms = [m for m in detector.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    detector.train()
    with torch.no_grad():
        data = detector.data_preprocessor(batch(name), True)
        detector.extract_feat(data["inputs"])
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    return detector
