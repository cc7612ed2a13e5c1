# SPDX-License-Identifier: Apache-2.0
"""Means of point and pixel features over the regions that both see."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lidistill.ops.segments.segment import check_ids, label_map_mean, segment_mean


@dataclass(frozen=True)
class RegionPairs:
    """Regions that points and pixels share.

    Attributes:
        point_regions: (R, C) mean point feature per kept region.
        pixel_regions: (R, C) mean pixel feature per kept region.
        region: (R,) int64 ids of the kept regions.
        point_count: (S,) pairs per region, before the selection.
        pixel_count: (S,) pixels per region, before the selection.
    """

    point_regions: Tensor
    pixel_regions: Tensor
    region: Tensor
    point_count: Tensor
    pixel_count: Tensor

    @property
    def coverage(self) -> float:
        """Share of the regions with pixels that also have points."""
        seen = int((self.pixel_count > 0).sum())
        return len(self.region) / seen if seen else 0.0


def regions_at_pairs(region_ids: Tensor, pair_image: Tensor, pair_rowcol: Tensor) -> Tensor:
    """Look up the region of each pair.

    Args:
        region_ids: (B, H, W) region ids over the batch; negative = none.
        pair_image: (P,) image of each pair.
        pair_rowcol: (P, 2) integer row and column of each pair.

    Returns:
        (P,) region ids.
    """
    return region_ids[pair_image.long(), pair_rowcol[:, 0].long(), pair_rowcol[:, 1].long()]


def pool_regions(
    point_features: Tensor,
    pair_point: Tensor,
    pair_region: Tensor,
    pixel_map: Tensor,
    region_ids: Tensor,
    num_regions: int,
    compat_channel0: bool = False,
    eps: float = 1e-6,
) -> RegionPairs:
    """Average point features over pairs, and pixel features over all pixels, of each region.

    A point seen by several pairs of a region counts several times; means are not normalised again.

    Args:
        point_features: (N, C) per point or voxel.
        pair_point: (P,) row of ``point_features`` of each pair.
        pair_region: (P,) region of each pair, see :func:`regions_at_pairs`; negative = none.
        pixel_map: (B, C, H, W) dense pixel features.
        region_ids: (B, H, W) region of each pixel over the batch; negative = none.
        num_regions: number of regions S over the batch.
        compat_channel0: keep a region if channel 0 of its point mean is not exactly 0, as the
            authors' release does, instead of by count.
        eps: added to the counts when dividing, as in the release.

    Returns:
        The regions with at least one pair and one pixel.

    Source: Sautier et al., "Image-to-Lidar Self-Supervised Distillation for Autonomous Driving
        Data", CVPR 2022, section 3.2.
    Differs from the authors' release: validity by count; an id beyond ``num_regions`` is an error
        (theirs joins the next image's regions); no one-hot matrices.
    """
    if pair_point.shape != pair_region.shape:
        raise ValueError(
            "pair_point and pair_region must have one length, got "
            f"{tuple(pair_point.shape)} and {tuple(pair_region.shape)}"
        )
    check_ids(pair_point, len(point_features), "pair_point")
    paired = point_features.index_select(0, pair_point.long())  # (P, C)
    point_mean, point_count = segment_mean(paired, pair_region, num_regions, eps)
    pixel_mean, pixel_count = label_map_mean(pixel_map, region_ids, num_regions, eps)
    return select_regions(point_mean, point_count, pixel_mean, pixel_count, compat_channel0)


def select_regions(
    point_mean: Tensor,
    point_count: Tensor,
    pixel_mean: Tensor,
    pixel_count: Tensor,
    compat_channel0: bool = False,
) -> RegionPairs:
    """Keep the regions that have points and pixels.

    Args:
        point_mean: (S, C) mean point feature.
        point_count: (S,) pairs.
        pixel_mean: (S, C) mean pixel feature.
        pixel_count: (S,) pixels.
        compat_channel0: see :func:`pool_regions`.

    Returns:
        The kept regions; both sides in the same dtype.
    """
    has_points = point_mean[:, 0] != 0 if compat_channel0 else point_count > 0
    region = torch.nonzero(has_points & (pixel_count > 0)).squeeze(1)
    return RegionPairs(
        point_regions=point_mean.index_select(0, region),
        pixel_regions=pixel_mean.index_select(0, region),
        region=region,
        point_count=point_count,
        pixel_count=pixel_count,
    )
