# SPDX-License-Identifier: Apache-2.0
"""ST-SLidR: SLidR that spares look-alike negatives and balances over-represented regions.

Mahmoud et al., "Self-Supervised Image-to-Point Distillation via Semantically Tolerant Contrastive
Loss", CVPR 2023, https://arxiv.org/abs/2301.05709.
"""

from __future__ import annotations

from typing import Any

import torch

from lidistill.datasets.frame import PairBatch
from lidistill.distill.distiller import Distiller
from lidistill.distill.image_to_lidar import (
    View,
    image_to_lidar,
    pool_pixels,
    pool_superpixels,
    views,
)
from lidistill.distill.regions import SuperpixelRegions
from lidistill.losses.contrastive import region_infonce
from lidistill.losses.gather import Negatives
from lidistill.losses.rows import directions
from lidistill.losses.semantic_tolerance import region_tolerance
from lidistill.registry import MODELS


@MODELS.register_module()
class STSLidR(Distiller):
    """SLidR's contrast, with logits weighed by how unlike two regions are to the frozen teacher.

    Args:
        temperature: of the InfoNCE.
        min_quantile: 0 weighs every negative by 1 - similarity; above 0, the most similar share of
            each row gets logit 0 and all others weight 1 (0.01 in the release).
        class_balance: weigh anchors down that have many look-alikes.
        region_scope: ``image``, or ``sample`` where the cameras of a sample share their regions.
        negatives: ``"rank"``: the regions of the own process, as in the release; ``"all"``: those
            of all processes of a training.
        networks: see :func:`lidistill.distill.image_to_lidar.image_to_lidar`.

    Differs from the authors' release: teacher regions are pooled through interpolation weights at
    the superpixels' resolution; theirs shrinks the superpixels to the teacher's map.
    """

    def __init__(
        self,
        temperature: float = 0.07,
        min_quantile: float = 0.01,
        class_balance: bool = True,
        region_scope: str = "image",
        negatives: Negatives = "rank",
        **networks: Any,
    ) -> None:
        super().__init__(**image_to_lidar(**networks))
        self.temperature = temperature
        self.min_quantile = min_quantile
        self.class_balance = class_balance
        self.region_scope = region_scope
        self.negatives = negatives

    def distill_losses(
        self, student: Any, teachers: dict[str, Any], batch: PairBatch
    ) -> dict[str, torch.Tensor]:
        """Sections 3.2 and 3.3: similarity of regions in the teacher's own feature space."""
        regions = SuperpixelRegions.from_batch(batch, self.region_scope)
        return {
            f"infonce{suffix}": self.contrast(view, regions)
            for suffix, view in views(self.connectors, student, teachers).items()
        }

    def contrast(self, view: View, regions: SuperpixelRegions) -> torch.Tensor:
        """The tolerant, balanced loss for one image teacher."""
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
