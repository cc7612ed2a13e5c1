# SPDX-License-Identifier: Apache-2.0
"""SLidR: image-to-LiDAR self-supervised pretraining by contrasting superpixels with superpoints.

Sautier et al., "Image-to-Lidar Self-Supervised Distillation for Autonomous Driving Data", CVPR
2022, https://arxiv.org/abs/2203.16258.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from lidistill.datasets.frame import PairBatch
from lidistill.distill.distiller import Distiller
from lidistill.distill.regions import SuperpixelRegions
from lidistill.distill.teacher import Teacher
from lidistill.losses.contrastive import RegionPairs, region_infonce, select_regions
from lidistill.ops.segment import label_map_mean, pool_map_regions_lowres, segment_mean
from lidistill.registry import MODELS

VOXEL_INPUTS = ("voxel_features", "voxel_coords", "spatial_shape", "batch_size")


@MODELS.register_module()
class SLidR(Distiller):
    """A sparse LiDAR network learns the region features of a frozen image network, without labels.

    Args:
        student: network on voxels; called with ``student_inputs`` of the batch.
        teacher: arguments of :class:`lidistill.distill.teacher.Teacher`: ``model``, a frozen image
            network (B, 3, H, W) -> (B, C, h, w), and its local ``checkpoint``.
        point_head: (V, C) -> (V, D); SLidR's last 1x1 convolution of the 3D network.
        image_head: (B, C, h, w) -> (B, D, h', w'), unit norm along D
            (:class:`lidistill.distill.connectors.ProjectionMap`).
        temperature: of the InfoNCE; 0.07 in the paper, section 4.1.
        student_tap: module of the student whose (V, C) output is taught; ``""`` is its output.
        student_inputs: batch fields the student takes.
        permute_regions: negative control: give every region the image feature of a random other
            region of its sample. Nothing useful can be learned from it.
        compat_channel0: the release's rule for which regions count (first channel not exactly 0).

    Differs from the authors' release: regions count when a pair falls into them; labels beyond a
    fixed number are an error instead of joining the next image; an image head that stays at the
    teacher's resolution (``upsample=1``) is pooled through the interpolation weights, without the
    upsampled map; the loss of a batch without regions is 0.
    """

    def __init__(
        self,
        student: nn.Module | dict,
        teacher: Teacher | dict,
        point_head: nn.Module | dict,
        image_head: nn.Module | dict,
        temperature: float = 0.07,
        student_tap: str = "",
        student_inputs: Sequence[str] = VOXEL_INPUTS,
        permute_regions: bool = False,
        compat_channel0: bool = False,
    ) -> None:
        super().__init__(
            student=student,
            student_taps={"voxels": student_tap},
            student_inputs=student_inputs,
            teachers={
                "image": Teacher(**{"taps": {"map": ""}, "inputs": ("images",), **teacher})
                if isinstance(teacher, dict)
                else teacher
            },
            connectors={"point": point_head, "image": image_head},
        )
        self.temperature = temperature
        self.permute_regions = permute_regions
        self.compat_channel0 = compat_channel0

    def distill_losses(
        self, student: Any, teachers: dict[str, Any], batch: PairBatch
    ) -> dict[str, torch.Tensor]:
        """Section 3.2: superpixels and superpoints of one region attract, all others repel."""
        points = F.normalize(self.connectors["point"](student.voxels.features), dim=1)  # (V, D)
        pixels = self.connectors["image"](teachers["image"].map.features.float())  # (B, D, h, w)
        regions = SuperpixelRegions.from_batch(batch)
        pooled = self.pool(points, pixels, regions)  # k and q of equation 1
        self.observe("regions", len(pooled.region))
        self.observe("region_coverage", pooled.coverage)
        images = pooled.pixel_regions
        if self.permute_regions:
            images = images[_permutation_within(regions.sample_of(pooled.region))]
        return {"infonce": region_infonce(pooled.point_regions, images, self.temperature)}

    def pool(
        self, points: torch.Tensor, pixels: torch.Tensor, regions: SuperpixelRegions
    ) -> RegionPairs:
        """Mean point feature over the pairs, mean pixel feature over all pixels, of each region."""
        point_mean, point_count = segment_mean(
            points[regions.pair_voxel], regions.pair_region, regions.count, eps=1e-6
        )
        full_size = pixels.shape[2:] == regions.pixel_region.shape[1:]
        pool_map = label_map_mean if full_size else pool_map_regions_lowres
        pixel_mean, pixel_count = pool_map(pixels, regions.pixel_region, regions.count, eps=1e-6)
        return select_regions(
            point_mean, point_count, pixel_mean, pixel_count, self.compat_channel0
        )


def _permutation_within(groups: torch.Tensor) -> torch.Tensor:
    """(R,) random permutation that keeps every row inside its group."""
    shuffled = torch.randperm(len(groups), device=groups.device)
    target = torch.argsort(groups, stable=True)
    source = shuffled[torch.argsort(groups[shuffled], stable=True)]
    permutation = torch.empty_like(target)
    permutation[target] = source
    return permutation
