# SPDX-License-Identifier: Apache-2.0
"""Regions: *where* to compare, as an index and weight list; never a dense mask."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lidistill.losses.contrastive import regions_at_pairs
from lidistill.ops.segment import batch_region_ids


@dataclass
class SuperpixelRegions:
    """Superpixels of a batch and the pairs that fall into them.

    Attributes:
        pixel_region: (B, H, W) region of each pixel over the whole batch, -1 = none.
        pair_voxel: (P,) row of the voxel features of each pair.
        pair_region: (P,) region of each pair, -1 = none.
        count: number of region ids over the batch.
    """

    pixel_region: torch.Tensor
    pair_voxel: torch.Tensor
    pair_region: torch.Tensor
    count: int

    @classmethod
    def from_batch(cls, batch: object) -> SuperpixelRegions:
        """Read a :class:`lidistill.datasets.frame.PairBatch`.

        Raises:
            ValueError: the batch holds no superpixels.
        """
        superpixels = getattr(batch, "superpixels", None)
        if superpixels is None:
            raise ValueError(
                "this method needs superpixels; put LoadSuperpixels into the pipeline and make "
                "them with `lidistill superpixels`"
            )
        pixel_region, count = batch_region_ids(superpixels)
        return cls(
            pixel_region=pixel_region,
            pair_voxel=batch.point_to_voxel[batch.pair_point],  # type: ignore[attr-defined]
            pair_region=regions_at_pairs(pixel_region, batch.pair_image, batch.pair_rowcol),  # type: ignore[attr-defined]
            count=count,
        )
