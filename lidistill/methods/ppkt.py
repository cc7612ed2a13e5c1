# SPDX-License-Identifier: Apache-2.0
"""PPKT: contrast single LiDAR points with single pixels, as SLidR's authors re-implemented it.

Liu et al., "Learning from 2D: Contrastive Pixel-to-Point Knowledge Transfer for 3D Pretraining",
2021, https://arxiv.org/abs/2104.04687.
"""

from __future__ import annotations

from typing import Any

import torch

from lidistill.datasets.frame import PairBatch
from lidistill.distill.distiller import Distiller
from lidistill.distill.image_to_lidar import image_to_lidar, pixels_at_pairs, views
from lidistill.losses.contrastive import point_infonce
from lidistill.losses.gather import Negatives
from lidistill.losses.rows import directions
from lidistill.losses.sampling import sample_pairs
from lidistill.registry import MODELS


@MODELS.register_module()
class PPKT(Distiller):
    """Each sampled point attracts its own pixel and repels the pixels of all other sampled points.

    Args:
        temperature: of the InfoNCE; 0.07 in SLidR's re-implementation.
        num_pairs: drawn per batch, without replacement; 4096 there.
        negatives: ``"rank"``: the pairs of the own process, as there; ``"all"``: those of all
            processes of a training.
        networks: see :func:`lidistill.distill.image_to_lidar.image_to_lidar`. A ``Conv1x1`` as
            ``image_head`` is the release's; a head that normalises each cell of the small map
            gives slightly other pixels between cells.

    Differs from the authors' release: the pixels are read from the low-resolution map, between its
    cells, so the upsampled map (x 32 there) is never built; the values are the same.
    """

    def __init__(
        self,
        temperature: float = 0.07,
        num_pairs: int = 4096,
        negatives: Negatives = "rank",
        **networks: Any,
    ) -> None:
        super().__init__(**image_to_lidar(**networks))
        self.temperature = temperature
        self.num_pairs = num_pairs
        self.negatives = negatives

    def distill_losses(
        self, student: Any, teachers: dict[str, Any], batch: PairBatch
    ) -> dict[str, torch.Tensor]:
        """Equation 3: one positive a point, its pixel."""
        chosen = sample_pairs(len(batch.pair_point), self.num_pairs).to(batch.pair_point.device)
        voxels = batch.point_to_voxel[batch.pair_point[chosen]]
        self.observe("pairs", len(chosen))
        terms = {}
        for suffix, view in views(self.connectors, student, teachers).items():
            points = directions(view.points[voxels])  # (M, D)
            pixels = directions(pixels_at_pairs(view.pixels, batch, chosen))  # (M, D)
            self.watch(points, pixels, suffix)
            terms[f"infonce{suffix}"] = point_infonce(
                points, pixels, self.temperature, self.negatives
            )
        return terms
