# SPDX-License-Identifier: Apache-2.0
"""ScaLR: every point regresses the direction of its pixel's feature; no regions, no negatives.

Puy et al., "Three Pillars Improving Vision Foundation Model Distillation for Lidar", CVPR 2024,
https://arxiv.org/abs/2310.17504.
"""

from __future__ import annotations

from typing import Any

import torch

from lidistill.datasets.frame import PairBatch
from lidistill.distill.connectors import check_widths
from lidistill.distill.distiller import Distiller
from lidistill.distill.image_to_lidar import image_to_lidar, pixels_at_pairs, views
from lidistill.losses.feature import normalized_l2
from lidistill.registry import MODELS


@MODELS.register_module()
class ScaLR(Distiller):
    """Mean distance of unit vectors over the pairs; the image side has no trained head.

    Use ``SampleCameras(1)`` in the pipeline: one random camera a sample, as in the release.

    Args:
        networks: see :func:`lidistill.distill.image_to_lidar.image_to_lidar`; without
            ``image_head``. ``point_head`` must widen to the teacher's channels.

    Differs from the authors' release: pixels are rounded to the nearest, theirs are floored; the
    number of points and the image size are the pipeline's.
    """

    def __init__(self, **networks: Any) -> None:
        if "image_head" in networks:
            raise ValueError("ScaLR has no image head: the teacher's own features are the target")
        super().__init__(**image_to_lidar(image_head=None, **networks))

    def distill_losses(
        self, student: Any, teachers: dict[str, Any], batch: PairBatch
    ) -> dict[str, torch.Tensor]:
        """Equation 1: the distance, not squared, between the two directions."""
        voxels = batch.point_to_voxel[batch.pair_point]
        self.observe("pairs", len(voxels))
        terms = {}
        for suffix, view in views(self.connectors, student, teachers).items():
            points = view.points[voxels]  # (P, C)
            pixels = pixels_at_pairs(view.pixels, batch)  # (P, C)
            check_widths(points.shape[1], pixels.shape[1], "ScaLR")
            self.watch(points, pixels, suffix)
            terms[f"l2{suffix}"] = normalized_l2(points, pixels)
        return terms
