# SPDX-License-Identifier: Apache-2.0
"""RoIAlign: regions of feature maps, upright or rotated, read on a regular grid of bins.

A bin is the mean (or the maximum) of the map at a few positions inside; how many is given, or one a
pixel. Bins beyond the map by more than one pixel read zero.

Source: He et al., "Mask R-CNN" (1703.06870), section 3; in mmcv's terms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lidistill.ops.images.taps import Taps, clamped_taps, pixel_rows, spread_taps, sum_taps
from lidistill.ops.precision import full_precision

POSITIONS = 1 << 20  # read at once: 48 bytes each for their taps


@dataclass(frozen=True)
class Regions:
    """Rectangles on feature maps, in pixels of the map, pixel centres at integers.

    Attributes:
        image: (N,) int64, which map.
        origin: (N, 2) y, x of the point that a region turns about.
        start: (N, 2) y, x of its first corner from there, before turning.
        size: (N, 2) height, width.
        turn: (N, 2) cosine and sine of the angle from the x axis towards minus y.
    """

    image: Tensor
    origin: Tensor
    start: Tensor
    size: Tensor
    turn: Tensor


def upright_regions(rois: Tensor, scale: float, aligned: bool) -> Regions:
    """Regions of RoIs (N, 5): image, x1, y1, x2, y2 in pixels of the image.

    Args:
        rois: corners.
        scale: pixels of the map per pixel of the image.
        aligned: shift by half a pixel, as pixel centres at +0.5 in ``rois`` ask for; else regions
            are at least one pixel large, as in Mask R-CNN's first releases.
    """
    _expect(rois, 5, "image, x1, y1, x2, y2")
    rois = full_precision(rois.detach())
    corners = rois[:, 1:] * scale - (0.5 if aligned else 0.0)
    first, last = corners[:, [1, 0]], corners[:, [3, 2]]
    size = last - first if aligned else (last - first).clamp(min=1)
    turn = torch.ones_like(size)
    turn[:, 1] = 0
    return Regions(rois[:, 0].long(), first, torch.zeros_like(first), size, turn)


def rotated_regions(rois: Tensor, scale: float, aligned: bool, clockwise: bool) -> Regions:
    """Regions of RoIs (N, 6): image, x, y of the centre, width, height, angle in radians.

    Args:
        rois: in pixels of the image.
        scale: pixels of the map per pixel of the image.
        aligned: as in `upright_regions`.
        clockwise: angles turn from x towards y, with y down; else the other way.
    """
    _expect(rois, 6, "image, x, y, width, height, angle")
    rois = full_precision(rois.detach())
    origin = rois[:, [2, 1]] * scale - (0.5 if aligned else 0.0)
    size = rois[:, [4, 3]] * scale
    size = size if aligned else size.clamp(min=1)
    angle = -rois[:, 5] if clockwise else rois[:, 5]
    turn = torch.stack([angle.cos(), angle.sin()], 1)
    return Regions(rois[:, 0].long(), origin, -size / 2, size, turn)


def _expect(rois: Tensor, columns: int, words: str) -> None:
    if rois.ndim != 2 or rois.shape[1] != columns:
        raise ValueError(f"expected RoIs (N, {columns}): {words}; got {tuple(rois.shape)}")


def roi_align(
    maps: Tensor, regions: Regions, bins: tuple[int, int], sampling_ratio: int = 0
) -> Tensor:
    """Mean of the map in each bin of each region; the maps' gradient is `roi_align_grad`.

    Args:
        maps: (B, C, H, W).
        regions: N of them.
        bins: rows and columns, P and Q.
        sampling_ratio: positions a bin along each axis; 0: one a pixel, rounded up.

    Returns:
        (N, C, P, Q) of the maps' dtype. A region without area is zero; one that is not finite, NaN.
    """
    rows = pixel_rows(full_precision(maps.detach()))
    out = rows.new_zeros((len(regions.image), *bins, maps.shape[1]))
    for chosen, y, x in _positions(regions, bins, sampling_ratio):
        taps = _bin_taps(regions, chosen, y, x, maps.shape, rows.dtype)
        out[chosen] = sum_taps(rows, taps).unflatten(0, (len(chosen), *bins))
    out[~_finite(regions)] = torch.nan
    return out.permute(0, 3, 1, 2).to(maps.dtype)


def roi_align_grad(
    gradient: Tensor,
    regions: Regions,
    shape: tuple[int, ...],
    sampling_ratio: int = 0,
) -> Tensor:
    """Gradient of the maps (B, C, H, W) of ``shape`` from that of the bins (N, C, P, Q)."""
    bins = (gradient.shape[2], gradient.shape[3])
    grads = full_precision(gradient.detach()).permute(0, 2, 3, 1)  # (N, P, Q, C)
    batch, channels, height, width = shape
    total = grads.new_zeros((batch * height * width, channels))
    for chosen, y, x in _positions(regions, bins, sampling_ratio):
        taps = _bin_taps(regions, chosen, y, x, shape, grads.dtype)
        total += spread_taps(grads[chosen].flatten(0, 2), taps, len(total))
    return _as_maps(total, shape).to(gradient.dtype)


def roi_align_max(
    maps: Tensor, regions: Regions, bins: tuple[int, int], sampling_ratio: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Greatest value among each bin's positions; the first of equals counts.

    Args as `roi_align`.

    Returns:
        (N, C, P, Q) values and the y and x that they were read at, -1 for regions without area. NaN
        is greatest, as in torch.
    """
    rows = pixel_rows(full_precision(maps.detach()))
    shape = (len(regions.image), *bins, maps.shape[1])
    out, at_y, at_x = rows.new_zeros(shape), rows.new_full(shape, -1), rows.new_full(shape, -1)
    for chosen, y, x in _positions(regions, bins, sampling_ratio):
        taps = _taps(regions, chosen, y, x, maps.shape, rows.dtype)
        flat = Taps(taps.index.flatten(0, -2), taps.weight.flatten(0, -2))
        values = sum_taps(rows, flat).unflatten(0, y.shape)  # (n, P, Q, S, C)
        best = values.amax(3)
        hit = (values == best.unsqueeze(3)) | values.isnan()
        first = hit.to(torch.uint8).argmax(3)  # (n, P, Q, C)
        out[chosen] = best
        at_y[chosen], at_x[chosen] = y.to(out).gather(3, first), x.to(out).gather(3, first)
    out[~_finite(regions)] = torch.nan
    values, at_y, at_x = (part.permute(0, 3, 1, 2).to(maps.dtype) for part in (out, at_y, at_x))
    return values, at_y, at_x


def roi_align_max_grad(
    gradient: Tensor, regions: Regions, at_y: Tensor, at_x: Tensor, shape: tuple[int, ...]
) -> Tensor:
    """Gradient of the maps of ``shape`` where the maxima were read, `roi_align_max`'s places."""
    batch, channels, height, width = shape
    taps = clamped_taps(full_precision(at_y), full_precision(at_x), height, width)
    found = (at_y != -1) | (at_x != -1)
    shares = full_precision(gradient.detach()) * found
    plane = regions.image[:, None] * channels + torch.arange(channels, device=gradient.device)
    index = taps.index + plane[..., None, None, None] * (height * width)
    total = shares.new_zeros(batch * channels * height * width)
    values = shares.unsqueeze(-1) * taps.weight.to(shares)
    total.index_add_(0, index.flatten(), values.flatten())
    return total.view(shape).to(gradient.dtype)


def _as_maps(rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    batch, _, height, width = shape
    return rows.view(batch, height, width, -1).permute(0, 3, 1, 2)


def _finite(regions: Regions) -> Tensor:
    parts = [regions.origin, regions.size, regions.turn]
    return torch.cat(parts, 1).isfinite().all(1)


def _positions(
    regions: Regions, bins: tuple[int, int], sampling_ratio: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Regions with equal grids together: their rows (n,), y and x of positions (n, P, Q, S)."""
    shape = regions.size.new_tensor(bins)
    finite = _finite(regions)
    grids = (torch.where(finite[:, None], regions.size, 0) / shape).ceil().clamp(min=0).long()
    if sampling_ratio > 0:
        grids = torch.full_like(grids, sampling_ratio)
    live = finite & (regions.size >= 0).all(1) & (grids > 0).all(1)
    for grid in torch.unique(grids[live], dim=0).tolist():
        every = (live & (grids == grids.new_tensor(grid)).all(1)).nonzero()[:, 0]
        most = max(1, POSITIONS // (grid[0] * grid[1] * bins[0] * bins[1]))
        for chosen in every.split(most):
            along = [_offsets(regions, chosen, axis, bins[axis], grid[axis]) for axis in (0, 1)]
            down, across = along[0][:, :, None, :, None], along[1][:, None, :, None, :]
            cos, sin = regions.turn[chosen].T[:, :, None, None, None, None]
            origin_y, origin_x = regions.origin[chosen].T[:, :, None, None, None, None]
            y = down * cos - across * sin + origin_y
            x = down * sin + across * cos + origin_x
            yield chosen, y.flatten(3), x.flatten(3)


def _offsets(regions: Regions, chosen: Tensor, axis: int, bins: int, grid: int) -> Tensor:
    """(n, bins, grid) positions along one axis, from the origin."""
    step = regions.size[chosen, axis] / bins
    bin_ = torch.arange(bins, device=step.device).to(step)[None, :, None]
    place = (torch.arange(grid, device=step.device).to(step) + 0.5)[None, None]
    start = regions.start[chosen, axis]
    return start[:, None, None] + bin_ * step[:, None, None] + place * step[:, None, None] / grid


def _taps(
    regions: Regions,
    chosen: Tensor,
    y: Tensor,
    x: Tensor,
    shape: tuple[int, ...],
    dtype: torch.dtype,
) -> Taps:
    """Taps (n, P, Q, S, 4) in the rows of all maps."""
    height, width = shape[2], shape[3]
    taps = clamped_taps(y, x, height, width)
    first = regions.image[chosen] * (height * width)
    return Taps(taps.index + first.view(-1, 1, 1, 1, 1), taps.weight.to(dtype))


def _bin_taps(
    regions: Regions,
    chosen: Tensor,
    y: Tensor,
    x: Tensor,
    shape: tuple[int, ...],
    dtype: torch.dtype,
) -> Taps:
    """Taps (n * P * Q, 4 S) whose sum is the mean over the bin's S positions."""
    taps = _taps(regions, chosen, y, x, shape, dtype)
    index, weight = (part.flatten(3).flatten(0, 2) for part in (taps.index, taps.weight))
    return Taps(index, weight / y.shape[3])
