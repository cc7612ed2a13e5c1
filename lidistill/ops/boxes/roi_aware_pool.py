# SPDX-License-Identifier: Apache-2.0
"""RoI-aware pooling: a grid of cells in each box, each pooling the points that lie in it.

Empty cells stay in the grid, so that the pooled features keep the box's geometry.

Source: Shi et al., "From Points to Parts" (1907.03670, Part-A2), section 3.2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lidistill.ops.boxes.points_in_boxes import points_in_boxes
from lidistill.ops.precision import full_precision


def points_of_cells(
    boxes: Tensor, points: Tensor, cells: tuple[int, int, int], capacity: int
) -> Tensor:
    """The points of each cell of each box, lowest index first.

    Args:
        boxes: (M, 7) x, y, z of the bottom's centre, l, w, h in metres, yaw in radians.
        points: (N, 3) metres.
        cells: along l, w, h.
        capacity: of a cell, and one: further points of it are left out.

    Returns:
        (M, *cells, ``capacity``) int32: how many points, then their rows; zeros behind.
    """
    table = torch.zeros((len(boxes) * cells[0] * cells[1] * cells[2], capacity), dtype=torch.int32)
    table = table.to(points.device)
    box, point = points_in_boxes(points, boxes).nonzero(as_tuple=True)  # by box, then by point
    cell = _cell_of(points[point], boxes[box], cells)
    cell += box * (cells[0] * cells[1] * cells[2])
    cell, order = cell.sort(stable=True)
    first = torch.searchsorted(cell, cell)  # place of the cell's first point
    place = torch.arange(len(cell), device=cell.device) - first
    kept = place < capacity - 1
    table[cell[kept], place[kept] + 1] = point[order][kept].int()
    table[:, 0] = torch.bincount(cell[kept], minlength=len(table)).int()
    return table.view(len(boxes), *cells, capacity)


def _cell_of(points: Tensor, boxes: Tensor, cells: tuple[int, int, int]) -> Tensor:
    """(K,) int64 cell, height fastest, of each of K points in its box."""
    shift = points[:, :3] - boxes[:, :3]
    cos, sin = torch.cos(-boxes[:, 6]), torch.sin(-boxes[:, 6])
    along = shift[:, 0] * cos - shift[:, 1] * sin + boxes[:, 3] / 2
    across = shift[:, 0] * sin + shift[:, 1] * cos + boxes[:, 4] / 2
    found = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    places = (along, across, shift[:, 2])
    for place, size, count in zip(places, boxes[:, 3:6].T, cells, strict=True):
        # a flat box holds the points of its plane: 0 / 0
        index = (place / (size / count)).nan_to_num(0).clamp(0, count - 1).long()
        found = found * count + index
    return found


def pool_max(features: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """Greatest feature of each cell's points; the first of equals counts, NaN never.

    Args:
        features: (N, C).
        table: of `points_of_cells`.

    Returns:
        (M, *cells, C), zero for cells without points, and the int32 rows that won, or -1.
    """
    cell, point = _pairs(table)
    shape = (table[..., 0].numel(), features.shape[1])
    values = torch.where(features.isnan(), -torch.inf, features.detach())[point]  # (K, C)
    index = cell[:, None].expand_as(values)
    best = values.new_full(shape, -torch.inf).scatter_reduce(0, index, values, "amax")
    won = (values == best[cell]) & (values > -torch.inf)
    rows = torch.where(won, point[:, None], len(features))
    none = torch.full(shape, len(features), device=features.device)
    winner = none.scatter_reduce(0, index, rows, "amin")
    found = winner < len(features)
    cells = (*table.shape[:-1], features.shape[1])
    pooled, rows = torch.where(found, best, 0), torch.where(found, winner, -1)
    return pooled.view(cells), rows.int().view(cells)


def pool_max_grad(gradient: Tensor, winner: Tensor, num_points: int) -> Tensor:
    """Gradient (N, C) of the features from that of the cells (M, *cells, C)."""
    rows, shares = winner.flatten(0, -2).long(), gradient.flatten(0, -2)
    grad = gradient.new_zeros((num_points, gradient.shape[-1]))
    if num_points:
        grad.scatter_add_(0, rows.clamp(min=0), torch.where(rows >= 0, shares, 0))
    return grad


def pool_mean(features: Tensor, table: Tensor) -> Tensor:
    """Mean feature of each cell's points: (M, *cells, C), zero for cells without points.

    Of the features' dtype; half precision is summed in float32.
    """
    cell, point = _pairs(table)
    rows = full_precision(features.detach())
    total = rows.new_zeros((table[..., 0].numel(), features.shape[1]))
    total.index_add_(0, cell, rows[point])
    count = table[..., 0].flatten().clamp(min=1).to(total)
    mean = (total / count[:, None]).to(features.dtype)
    return mean.view(*table.shape[:-1], features.shape[1])


def pool_mean_grad(gradient: Tensor, table: Tensor, num_points: int) -> Tensor:
    """Gradient (N, C) of the features from that of the cells (M, *cells, C)."""
    cell, point = _pairs(table)
    shares = gradient / table[..., :1].clamp(min=1).to(gradient)
    grad = gradient.new_zeros((num_points, gradient.shape[-1]))
    return grad.index_add_(0, point, shares.flatten(0, -2)[cell])


def _pairs(table: Tensor) -> tuple[Tensor, Tensor]:
    """Cells and rows of points (K,), by cell; most cells are empty and are not looked into."""
    flat = table.flatten(0, -2)
    used = flat[:, 0].nonzero()[:, 0]
    counts = flat[used, 0].long()
    cell = used.repeat_interleave(counts)
    first = (counts.cumsum(0) - counts).repeat_interleave(counts)
    place = torch.arange(len(cell), device=cell.device) - first + 1
    return cell, flat[cell, place].long()
