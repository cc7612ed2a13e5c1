# SPDX-License-Identifier: Apache-2.0
"""ST-SLidR: SLidR that spares look-alike negatives and balances over-represented regions.

Mahmoud et al., "Self-Supervised Image-to-Point Distillation via Semantically Tolerant Contrastive
Loss", CVPR 2023, https://arxiv.org/abs/2301.05709.
"""

from __future__ import annotations

from typing import Any

import torch

from lidistill.distill.image_to_lidar import (
    RegionContrast,
    View,
    pool_pixels,
    pool_superpixels,
)
from lidistill.distill.regions import SuperpixelRegions
from lidistill.losses.contrastive import region_infonce
from lidistill.losses.rows import directions
from lidistill.losses.semantic_tolerance import region_tolerance
from lidistill.registry import MODELS


@MODELS.register_module()
class STSLidR(RegionContrast):
    """SLidR's contrast, with logits weighed by how unlike two regions are to the frozen teacher.

    Args:
        min_quantile: 0 weighs every negative by 1 - similarity; above 0, the most similar share of
            each row gets logit 0 and all others weight 1 (0.01 in the release).
        class_balance: weigh anchors down that have many look-alikes.
        shared: ``temperature``, ``region_scope``, ``negatives`` and the networks; see
            :class:`lidistill.distill.image_to_lidar.RegionContrast`.

    Differs from the authors' release: teacher regions are pooled through interpolation weights at
    the superpixels' resolution; theirs shrinks the superpixels to the teacher's map.
    """

    def __init__(
        self,
        min_quantile: float = 0.01,
        class_balance: bool = True,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.min_quantile = min_quantile
        self.class_balance = class_balance

    def contrast(self, view: View, regions: SuperpixelRegions) -> torch.Tensor:
        """Sections 3.2 and 3.3: similarity of regions in the teacher's own feature space."""
        points = directions(view.points)  # (V, D)
        pooled = pool_superpixels(points, view.pixels, regions)
        teacher_regions, _ = pool_pixels(view.frozen, regions)
        tolerance = region_tolerance(
            teacher_regions[pooled.region], self.min_quantile, self.class_balance, self.negatives
        )
        self.observe("regions", int(tolerance.alive.sum()))
        self.observe("region_coverage", pooled.coverage)
        points, pixels = (
            rows[tolerance.alive] for rows in (pooled.point_regions, pooled.pixel_regions)
        )
        self.watch(points, pixels, view.suffix)
        return region_infonce(
            points,
            pixels,
            self.temperature,
            tolerance.logit_weights,
            tolerance.anchor_weights,
            self.negatives,
        )
