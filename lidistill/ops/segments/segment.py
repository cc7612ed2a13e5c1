# SPDX-License-Identifier: Apache-2.0
"""Segment reductions: sums and means of rows, or of pixels, that share an id.

Nothing here builds a one-hot matrix. Rows go through ``index_add``; full feature maps stay
channel-major (as a convolution leaves them) and are read once, by a numba kernel on the CPU and by
``scatter_add`` elsewhere. Ids are integers in ``0 .. num_segments - 1``; a negative id means
"belongs to no segment". Half precision inputs are summed, and returned, in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lidistill.ops.segments import _segment_kernels as kernels

# Interpolation weights made at once, off and on a GPU: 2 MiB stay in a CPU's cache.
_WEIGHTS_AT_ONCE = {False: 2**18, True: 2**26}


def _accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def check_ids(ids: Tensor, num_segments: int, what: str = "ids") -> None:
    """Raise if an id is not below ``num_segments``.

    Args:
        ids: integer tensor of any shape; negative values mean "no segment".
        num_segments: number of segments.
        what: how the message names the ids.

    Raises:
        ValueError: an id is too large, or ids are not integers.
    """
    if ids.is_floating_point() or ids.dtype == torch.bool:
        raise ValueError(f"{what} must be integers, got {ids.dtype}; convert with .long()")
    if ids.numel() == 0:
        return
    top = int(ids.max())
    if top >= num_segments:
        raise ValueError(
            f"{what} must lie below {num_segments}, got {top}; raise the number of segments "
            "or make the label maps again with fewer labels"
        )


def segment_sum(values: Tensor, ids: Tensor, num_segments: int) -> Tensor:
    """Sum the rows of ``values`` that share an id.

    Args:
        values: (P, C) rows, any float type.
        ids: (P,) integer segment of each row; negative rows are left out.
        num_segments: number of segments S.

    Returns:
        (S, C) sums, float32 (float64 for float64 input); segments without rows are zero.
    """
    _check_rows(values, ids)
    return _sum_rows(values, _with_spare(ids, num_segments), num_segments)


def segment_count(ids: Tensor, num_segments: int) -> Tensor:
    """Count the members of each segment.

    Args:
        ids: integer tensor of any shape; negative entries are left out.
        num_segments: number of segments S.

    Returns:
        (S,) int64 counts.
    """
    return _count(_with_spare(ids, num_segments), num_segments)


def divide_by_count(total: Tensor, count: Tensor, eps: float = 0.0) -> Tensor:
    """Turn sums into means; segments without members stay zero.

    Args:
        total: (S, C) sums.
        count: (S,) integer counts.
        eps: added to each count. SLidR's release divides by ``count + 1e-6``.

    Returns:
        (S, C) means.
    """
    return total / (count.clamp(min=1).to(total.dtype) + eps).unsqueeze(1)


def segment_mean(
    values: Tensor, ids: Tensor, num_segments: int, eps: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Average the rows of ``values`` that share an id.

    Args:
        values: (P, C) rows.
        ids: (P,) integer segment of each row; negative rows are left out.
        num_segments: number of segments S.
        eps: see :func:`divide_by_count`.

    Returns:
        (S, C) means (zero where empty) and (S,) int64 counts.
    """
    _check_rows(values, ids)
    target = _with_spare(ids, num_segments)
    count = _count(target, num_segments)
    return divide_by_count(_sum_rows(values, target, num_segments), count, eps), count


def _with_spare(ids: Tensor, num_segments: int, what: str = "ids") -> Tensor:
    """Checked ids, int32, in which "no segment" is the spare segment ``num_segments``.

    A spare row takes what belongs nowhere: no boolean indexing, so no copy of the values.
    """
    check_ids(ids, num_segments, what)
    target = ids.to(torch.int32, copy=True)
    return target.masked_fill_(ids < 0, num_segments)  # wide ones may wrap: -2**63, of NaN, to 0


def _sum_rows(values: Tensor, target: Tensor, num_segments: int) -> Tensor:
    values = values.to(_accumulation_dtype(values.dtype))
    total = values.new_zeros(num_segments + 1, values.shape[1])
    return total.index_add(0, target, values)[:num_segments]


def _count(target: Tensor, num_segments: int) -> Tensor:
    return torch.bincount(target.flatten(), minlength=num_segments + 1)[:num_segments]


class _MapSum(torch.autograd.Function):
    """Sum of a channel-major map over label regions; the gradient is a plain look-up."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, target: Tensor, num_regions: int) -> Tensor:
        target = target.flatten(1)
        ctx.save_for_backward(target)
        ctx.map_shape, ctx.map_dtype = maps.shape, maps.dtype
        return kernels.map_sum(maps, target, num_regions)  # (S, C)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None]:
        (target,) = ctx.saved_tensors
        batch, channels, height, width = ctx.map_shape
        spread = kernels.spread_rows(grad, target)  # (B, C, H * W)
        return spread.view(batch, channels, height, width).to(ctx.map_dtype), None, None


def label_map_sum(feature_maps: Tensor, region_ids: Tensor, num_regions: int) -> Tensor:
    """Sum each region's pixels of dense channel-major maps.

    Args:
        feature_maps: (B, C, H, W), any float type.
        region_ids: (B, H, W) integer region of each pixel over the whole batch; negative = none.
        num_regions: number of regions S over the whole batch.

    Returns:
        (S, C) sums, float32 (float64 for float64 input).
    """
    _check_maps(feature_maps, region_ids)
    target = _with_spare(region_ids, num_regions, "region_ids")
    return _MapSum.apply(feature_maps, target, num_regions)


def label_map_mean(
    feature_maps: Tensor, region_ids: Tensor, num_regions: int, eps: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Average each region's pixels of dense channel-major maps.

    Args:
        feature_maps: (B, C, H, W), any float type.
        region_ids: (B, H, W) integer region of each pixel over the whole batch; negative = none.
            :func:`batch_region_ids` makes them from per-image labels.
        num_regions: number of regions S over the whole batch.
        eps: see :func:`divide_by_count`.

    Returns:
        (S, C) means (zero where empty) and (S,) int64 pixel counts.
    """
    _check_maps(feature_maps, region_ids)
    target = _with_spare(region_ids, num_regions, "region_ids")
    count = _count(target, num_regions)
    return divide_by_count(_MapSum.apply(feature_maps, target, num_regions), count, eps), count


def pool_map_regions_lowres(
    feature_map: Tensor,
    region_ids: Tensor,
    num_regions: int,
    align_corners: bool = True,
    eps: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Average a bilinearly upsampled map over regions without building the upsampled map.

    The mean of interpolated values is a weighted sum of the low-resolution cells: the interpolation
    weights of a region's pixels are added up first (they do not depend on the features), and one
    matrix product per image does the rest. Value and gradient equal those of upsampling, then
    :func:`label_map_mean`. It cannot serve heads that normalise each upsampled pixel (SLidR's own
    head does): there the mean is not linear in the cells; use the dense map.

    Args:
        feature_map: (B, C, h, w) low-resolution map.
        region_ids: (B, H, W) integer region of each full-resolution pixel over the whole batch;
            negative = none.
        num_regions: number of regions S over the whole batch.
        align_corners: as in ``torch.nn.functional.interpolate(mode="bilinear")``.
        eps: see :func:`divide_by_count`.

    Returns:
        (S, C) means (zero where empty) and (S,) int64 pixel counts.
    """
    if feature_map.ndim != 4 or region_ids.ndim != 3 or feature_map.shape[0] != len(region_ids):
        raise ValueError(
            "expected feature_map (B, C, h, w) and region_ids (B, H, W), got "
            f"{tuple(feature_map.shape)} and {tuple(region_ids.shape)}"
        )
    count = _count(_with_spare(region_ids, num_regions, "region_ids"), num_regions)
    batch, channels, height, width = feature_map.shape
    cells = feature_map.to(_accumulation_dtype(feature_map.dtype)).flatten(2).mT  # (B, h * w, C)
    total = cells.new_zeros(num_regions, channels)
    first, span = _id_spans(region_ids)
    block = max(1, _WEIGHTS_AT_ONCE[cells.is_cuda] // max(1, span * height * width))
    for start in range(0, batch if span else 0, block):
        images = slice(start, start + block)
        ids, offset = region_ids[images], first[images]  # (b, H, W), (b,)
        slot = torch.arange(len(ids), device=ids.device) * span - offset
        weights = kernels.interpolation_weights(
            torch.where(ids < 0, -1, ids + slot.view(-1, 1, 1)),
            len(ids) * span,
            (height, width),
            align_corners,
        )
        sums = weights.view(len(ids), span, -1).to(cells.dtype) @ cells[images]  # (b, s, C)
        rows = offset.unsqueeze(1) + torch.arange(span, device=ids.device)
        # an image with fewer ids than the widest has zeros at the end, whose row does not matter
        rows = rows.clamp(max=num_regions - 1).flatten()
        total = total.index_add(0, rows, sums.flatten(0, 1))
    if not total.requires_grad:  # no image has a region: zero, with gradient
        total = total + 0.0 * cells.sum()
    return divide_by_count(total, count, eps), count


def batch_region_ids(
    labels: Tensor, num_labels: int | None = None, scope: Tensor | None = None
) -> tuple[Tensor, int]:
    """Make per-image labels unique over a batch.

    Args:
        labels: (B, H, W) integer labels, 0-based within each image; negative = no region.
        num_labels: labels reserved for each image; None takes as many as each group has.
        scope: (B,) group of each image, 0-based; images of one group share their labels (cameras of
            one sample with semantic regions). None: each image is its own group.

    Returns:
        (B, H, W) int64 region ids over the batch (negative where ``labels`` is) and their number S.

    Raises:
        ValueError: a label is not below ``num_labels``. The authors' release lets it silently join
            the next image's regions.
    """
    if labels.ndim != 3:
        raise ValueError(f"expected labels (B, H, W), got {tuple(labels.shape)}")
    batch = labels.shape[0]
    group = torch.arange(batch, device=labels.device) if scope is None else scope.long()
    groups = int(group.max()) + 1 if batch else 0
    if labels.dtype in (torch.uint16, torch.uint32, torch.uint64):
        labels = labels.long()  # torch can't compare these
    if num_labels is not None:
        check_ids(labels, num_labels, "superpixel labels")
        per_group = group.new_full((groups,), num_labels)
    else:
        needed = labels.flatten(1).amax(1).long() + 1 if labels.numel() else group.new_zeros(batch)
        per_group = group.new_zeros(groups).scatter_reduce_(0, group, needed, "amax")
    first = per_group.cumsum(0) - per_group  # (G,)
    region_ids = labels.to(torch.int64, copy=True).add_(first[group].view(-1, 1, 1))
    if labels.dtype.is_signed:
        region_ids.masked_fill_(labels < 0, -1)
    return region_ids, int(per_group.sum())


def _id_spans(ids: Tensor) -> tuple[Tensor, int]:
    """(B,) smallest non-negative id of each of (B, H, W), 0 without one; and the widest span."""
    if ids.numel() == 0:
        return ids.new_zeros(len(ids)), 0
    last = ids.flatten(1).amax(1).long()
    lowest = torch.where(ids < 0, torch.iinfo(ids.dtype).max, ids).flatten(1).amin(1).long()
    first = torch.where(last < 0, 0, lowest)
    return first, max(0, int((last - first).max()) + 1)


def _check_rows(values: Tensor, ids: Tensor) -> None:
    if values.ndim != 2 or ids.shape != values.shape[:1]:
        raise ValueError(
            f"expected values (P, C) and ids (P,), got {tuple(values.shape)} and {tuple(ids.shape)}"
        )


def _check_maps(feature_maps: Tensor, region_ids: Tensor) -> None:
    batch_height_width = (feature_maps.shape[0], *feature_maps.shape[2:])
    if feature_maps.ndim != 4 or tuple(region_ids.shape) != batch_height_width:
        raise ValueError(
            "expected feature_maps (B, C, H, W) and region_ids (B, H, W), got "
            f"{tuple(feature_maps.shape)} and {tuple(region_ids.shape)}"
        )
