# SPDX-License-Identifier: Apache-2.0
"""Regions: *where* to compare, as an index and weight list; never a dense mask."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lidistill.losses.contrastive import regions_at_pairs
from lidistill.ops.segments.segment import batch_region_ids

SCOPES = ("image", "sample")
SPARSE_IDS = 512  # labels per image beyond which unused ids are taken out first


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
    def from_batch(cls, batch: object, scope: str = "image") -> SuperpixelRegions:
        """Read a :class:`lidistill.datasets.frame.PairBatch`.

        Args:
            batch: with ``superpixels``.
            scope: ``image``, every image has regions of its own (SLidR); ``sample``, images of one
                sample share regions of the same label (SuperFlow's view consistency, for class
                maps and for clusters made with that scope).

        Raises:
            ValueError: the batch holds no superpixels, or there is no such scope.
        """
        if scope not in SCOPES:
            raise ValueError(f"scope: expected one of {', '.join(SCOPES)}, got {scope!r}")
        superpixels = getattr(batch, "superpixels", None)
        if superpixels is None:
            raise ValueError(
                "this method needs superpixels; put LoadSuperpixels into the pipeline and make "
                "them with `lidistill superpixels`"
            )
        sample = batch.image_batch if scope == "sample" else None  # type: ignore[attr-defined]
        pixel_region, count = batch_region_ids(superpixels, scope=sample)
        if count > SPARSE_IDS * len(superpixels):
            pixel_region, count = close_gaps(pixel_region, count)
        return cls(
            pixel_region=pixel_region,
            pair_voxel=batch.point_to_voxel[batch.pair_point],  # type: ignore[attr-defined]
            pair_region=regions_at_pairs(pixel_region, batch.pair_image, batch.pair_rowcol),  # type: ignore[attr-defined]
            count=count,
        )


def close_gaps(region_ids: torch.Tensor, count: int) -> tuple[torch.Tensor, int]:
    """Number the ids that occur from 0, in their order: label maps of others may use few of many.

    Args:
        region_ids: (B, H, W) integers below ``count``; negative = no region.
        count: number of ids.

    Returns:
        (B, H, W) ids without gaps, negative where they were, and their number.
    """
    occurs = torch.zeros(count + 1, dtype=torch.bool, device=region_ids.device)
    occurs[torch.where(region_ids < 0, count, region_ids).flatten()] = True
    occurs[count] = False
    new_id = occurs.cumsum(0) - 1  # (count + 1,)
    new_id[count] = -1
    return new_id[torch.where(region_ids < 0, count, region_ids)], int(occurs.sum())
