# SPDX-License-Identifier: Apache-2.0
"""Kernels behind :mod:`lidistill.ops.segments.segment`: numba on the CPU, torch on other devices.

The numba kernels release the interpreter lock and are spread over plain threads (as many as torch
uses): numba's own threading layers do not survive a fork, and data loaders fork.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from lidistill.jit import njit


def map_sum(maps: Tensor, target: Tensor, num_regions: int) -> Tensor:
    """Sum (B, C, H, W) ``maps`` over ``target`` (B, H*W): (S, C), float64 if the maps are.

    ``target`` is int32; region S is the spare one, which is left out.
    """
    dtype = torch.float64 if maps.dtype == torch.float64 else torch.float32
    flat = maps.detach().to(dtype).flatten(2)  # (B, C, H * W)
    if maps.device.type == "cpu":
        return _map_sum_numba(flat, target, num_regions)
    return map_sum_torch(flat, target, num_regions)


def _map_sum_numba(flat: Tensor, target: Tensor, num_regions: int) -> Tensor:
    values, labels = flat.contiguous().numpy(), target.contiguous().numpy()
    total = np.zeros((values.shape[1], num_regions), values.dtype)
    _over_rows(len(total), lambda first, last: _sum_rows(values, labels, first, last, total))
    return torch.from_numpy(total).T.contiguous()


def map_sum_torch(flat: Tensor, target: Tensor, num_regions: int) -> Tensor:
    """As `map_sum`, for (B, C, P) maps on any device."""
    channels = flat.shape[1]
    total = flat.new_zeros(channels, num_regions + 1)
    for one_map, one_target in zip(flat, target.long(), strict=True):
        total.scatter_add_(1, one_target.expand(channels, -1), one_map)
    return total[:, :num_regions].T.contiguous()


def spread_rows(rows: Tensor, target: Tensor) -> Tensor:
    """Write row ``target[b, p]`` of (S, C) ``rows`` at each pixel: (B, C, H*W); zero at S."""
    spread = _spread_rows_numba if rows.device.type == "cpu" else spread_rows_torch
    return spread(rows.detach(), target)


def _spread_rows_numba(rows: Tensor, target: Tensor) -> Tensor:
    num_regions, channels = rows.shape
    table = np.zeros((channels, num_regions + 1), rows.numpy().dtype)
    table[:, :num_regions] = rows.numpy().T
    labels = target.contiguous().numpy()
    out = np.empty((target.shape[0], channels, target.shape[1]), table.dtype)
    _over_rows(channels, lambda first, last: _spread(table, labels, first, last, out))
    return torch.from_numpy(out)


def spread_rows_torch(rows: Tensor, target: Tensor) -> Tensor:
    """As `spread_rows`, on any device."""
    table = torch.cat([rows, rows.new_zeros(1, rows.shape[1])])
    return table[target.long()].transpose(1, 2)


def interpolation_weights(
    ids: Tensor, num_rows: int, low_hw: tuple[int, int], align_corners: bool
) -> Tensor:
    """Sum bilinear weights of each region's pixels on the low-resolution cells.

    Args:
        ids: (B, H, W) integer rows in ``0 .. num_rows - 1``; negative = none.
        num_rows: number of rows s.
        low_hw: height and width (h, w) of the low-resolution map.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        (s, h * w) float64 weights; row r sums to the pixel count of r.
    """
    rows = axis_weights(low_hw[0], ids.shape[1], align_corners)
    columns = axis_weights(low_hw[1], ids.shape[2], align_corners)
    if ids.device.type != "cpu":
        return interpolation_weights_torch(ids, num_rows, low_hw, rows, columns)
    out = np.zeros((num_rows + 1, low_hw[0] * low_hw[1]))
    _gather_weights(
        _spare_last(ids, num_rows),
        tuple(part.numpy() for part in rows),
        tuple(part.numpy() for part in columns),
        low_hw[1],
        out,
    )
    return torch.from_numpy(out[:num_rows])


AxisWeights = tuple[Tensor, Tensor, Tensor]


def interpolation_weights_torch(
    ids: Tensor, num_rows: int, low_hw: tuple[int, int], rows: AxisWeights, columns: AxisWeights
) -> Tensor:
    """As `interpolation_weights`, on any device, from the weights of both axes."""
    cells = low_hw[0] * low_hw[1]
    target = torch.where(ids < 0, num_rows, ids).long() * cells
    weights = torch.zeros((num_rows + 1) * cells, dtype=torch.float64, device=ids.device)
    (row, row_next, down), (column, column_next, right) = (
        tuple(part.to(ids.device) for part in axis) for axis in (rows, columns)
    )
    for y, y_share in ((row, 1 - down), (row_next, down)):
        for x, x_share in ((column, 1 - right), (column_next, right)):
            cell = target + (y[:, None] * low_hw[1] + x)
            share = (y_share[:, None] * x_share).expand_as(cell)
            weights.index_add_(0, cell.flatten(), share.flatten())
    return weights.view(num_rows + 1, cells)[:num_rows]


def axis_weights(low: int, high: int, align_corners: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Bilinear upsampling along one axis.

    Args:
        low: cells of the low-resolution axis.
        high: samples of the upsampled axis.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        (high,) int64 cell, (high,) int64 next cell, (high,) float64 share of the next cell.
    """
    index = torch.arange(high, dtype=torch.float64)
    if align_corners:
        position = index * ((low - 1) / (high - 1) if high > 1 else 0.0)
    else:
        position = ((index + 0.5) * (low / high) - 0.5).clamp(min=0)
    cell = position.floor().long().clamp(max=low - 1)
    return cell, (cell + 1).clamp(max=low - 1), position - cell


def _spare_last(ids: Tensor, num_rows: int) -> np.ndarray:
    """Ids as int32 numpy, negative ones turned into the spare row ``num_rows``."""
    return torch.where(ids < 0, num_rows, ids).to(torch.int32).contiguous().numpy()


def _over_rows(rows: int, work: Callable[[int, int], None]) -> None:
    """Run ``work(first, last)`` on chunks of ``range(rows)``, one per torch thread."""
    threads = max(1, min(torch.get_num_threads(), rows))
    if threads == 1:
        work(0, rows)
        return
    edges = np.linspace(0, rows, threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, edges[:-1], edges[1:]))


@njit
def _sum_rows(  # type: ignore[no-untyped-def]
    maps, labels, first, last, total
):
    """Add up maps (B, C, P) by labels (B, P) into total (C, S), channels first..last, in float64.

    Along an image row labels come in runs: a run is added up in registers (4x faster than memory),
    of four channels at once, whose additions need not wait for each other (1.6x faster than one).
    """
    batch, _, pixels = maps.shape
    regions = total.shape[1]
    sums = np.empty((regions + 1, 4), np.float64)
    for channel in range(first, last, 4):
        c0, c1, c2 = channel, min(channel + 1, last - 1), min(channel + 2, last - 1)
        c3 = min(channel + 3, last - 1)  # past the last channel, that one again
        sums[:] = 0.0
        for image in range(batch):
            row0, row1 = maps[image, c0], maps[image, c1]
            row2, row3 = maps[image, c2], maps[image, c3]
            run0 = run1 = run2 = run3 = 0.0
            current = regions
            for pixel in range(pixels):
                label = labels[image, pixel]
                if label != current:
                    _add_run(sums[current], run0, run1, run2, run3)
                    run0 = run1 = run2 = run3 = 0.0
                    current = label
                run0 += row0[pixel]
                run1 += row1[pixel]
                run2 += row2[pixel]
                run3 += row3[pixel]
            _add_run(sums[current], run0, run1, run2, run3)
        for region in range(regions):
            total[c0, region], total[c1, region] = sums[region, 0], sums[region, 1]
            total[c2, region], total[c3, region] = sums[region, 2], sums[region, 3]


@njit(inline="always")
def _add_run(sums, run0, run1, run2, run3):  # type: ignore[no-untyped-def]
    """Add a run of four channels to the (4,) sums of its region."""
    sums[0] += run0
    sums[1] += run1
    sums[2] += run2
    sums[3] += run3


@njit
def _spread(  # type: ignore[no-untyped-def]
    table, labels, first, last, out
):
    """Look up table (C, S + 1) by labels (B, P) into out (B, C, P), channels first..last."""
    batch, _, pixels = out.shape
    for channel in range(first, last):
        for image in range(batch):
            for pixel in range(pixels):
                out[image, channel, pixel] = table[channel, labels[image, pixel]]


@njit
def _gather_weights(  # type: ignore[no-untyped-def]
    labels, rows, columns, low_width, out
):
    """Add the four bilinear weights of each pixel of labels (B, H, W) to out (S + 1, h * w)."""
    row, row_next, row_part = rows
    column, column_next, column_part = columns
    images, height, width = labels.shape
    for image in range(images):
        for y in range(height):
            top, bottom, low_share = row[y] * low_width, row_next[y] * low_width, row_part[y]
            for x in range(width):
                label, right = labels[image, y, x], column_part[x]
                out[label, top + column[x]] += (1.0 - low_share) * (1.0 - right)
                out[label, top + column_next[x]] += (1.0 - low_share) * right
                out[label, bottom + column[x]] += low_share * (1.0 - right)
                out[label, bottom + column_next[x]] += low_share * right
