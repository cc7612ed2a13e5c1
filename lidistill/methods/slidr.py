# SPDX-License-Identifier: Apache-2.0
"""SLidR: image-to-LiDAR self-supervised pretraining by contrasting superpixels with superpoints.

Sautier et al., "Image-to-Lidar Self-Supervised Distillation for Autonomous Driving Data", CVPR
2022, https://arxiv.org/abs/2203.16258.
"""

from __future__ import annotations

from typing import Any

import torch

from lidistill.distill.image_to_lidar import RegionContrast, View, pool_superpixels
from lidistill.distill.regions import SuperpixelRegions
from lidistill.losses.contrastive import region_infonce
from lidistill.losses.rows import directions
from lidistill.registry import MODELS


@MODELS.register_module()
class SLidR(RegionContrast):
    """A sparse LiDAR network learns the region features of a frozen image network, without labels.

    Args:
        permute_regions: negative control: give every region the image feature of a random region
            of the batch. Nothing can be learned from it. (Within a sample would not do: the
            student then still learns which sample a region comes from, and gains from it.)
        noise_targets: negative control: random directions in place of image features, so that
            nothing of the images reaches the student. What it gains, training alone brings.
        compat_channel0: the release's rule for which regions count (first channel not exactly 0).
        shared: ``temperature`` (0.07 in section 4.1), ``region_scope``, ``negatives`` and the
            networks; see :class:`lidistill.distill.image_to_lidar.RegionContrast`.

    Differs from the authors' release: regions count when a pair falls into them; labels beyond a
    fixed number are an error instead of joining the next image; an image head that stays at the
    teacher's resolution (``upsample=1``) is pooled through the interpolation weights, without the
    upsampled map; the loss of a batch without regions is 0.
    """

    def __init__(
        self,
        permute_regions: bool = False,
        noise_targets: bool = False,
        compat_channel0: bool = False,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.permute_regions = permute_regions
        self.noise_targets = noise_targets
        self.compat_channel0 = compat_channel0

    def contrast(self, view: View, regions: SuperpixelRegions) -> torch.Tensor:
        """Section 3.2, equation 1: both sides of one region attract, all other regions repel."""
        points = directions(view.points)  # (V, D)
        pooled = pool_superpixels(points, view.pixels, regions, self.compat_channel0)  # k, q
        self.observe("regions", len(pooled.region))
        self.observe("region_coverage", pooled.coverage)
        images = pooled.pixel_regions
        if self.permute_regions:
            images = images[torch.randperm(len(images), device=images.device)]
        if self.noise_targets:
            images = directions(torch.randn_like(images))
        self.watch(pooled.point_regions, images, view.suffix)
        return region_infonce(
            pooled.point_regions, images, self.temperature, negatives=self.negatives
        )
