# SPDX-License-Identifier: Apache-2.0
"""BEV pooling: the sum over the points of all pixels' rays, without the volume of points.

A pixel q with context c(q) and a distribution p(d, q) over depths puts p(d, q) c(q) at each point
of its ray. The map is a sparse matrix times the contexts::

    bev[cell] = sum of p(d, q) c(q) over the points (d, q) that lie in the cell

``embedding_bag`` does just this; the matrix' structure is a plan that holds as long as the cameras'
geometry does. The volume (160 MB for six images of 256 x 704) is never made.

Source: Philion and Fidler, "Lift, Splat, Shoot" (2008.05711), section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lidistill.ops.bev import _pool_kernels as kernels
from lidistill.ops.gradients import differentiable_once


@dataclass(frozen=True)
class PoolPlan:
    """Which points lie in which cell.

    Attributes:
        cells: (M, D, h, w) int32 cell of each point, negative where it lies outside.
        points: (K,) int64 points inside, by cell; indices into the flattened ``cells``.
        pixels: (K,) int64 pixel of each of them; indices into flattened (M, h, w).
        offsets: (num_cells + 1,) int64 where each cell's points start.
    """

    cells: Tensor
    points: Tensor
    pixels: Tensor
    offsets: Tensor

    @property
    def num_cells(self) -> int:
        """Cells of the map, those of all samples of the batch."""
        return len(self.offsets) - 1


def pool_plan(cells: Tensor, num_cells: int) -> PoolPlan:
    """Sort the points of all rays by cell.

    Args:
        cells: (M, D, h, w) integer cell of depth bin d of a pixel; negative: in none. M counts the
            images of all samples, whose cells follow one another.
        num_cells: cells of all samples' maps.

    Raises:
        ValueError: another shape, no integers, or a cell that is too large.
    """
    if cells.dim() != 4 or cells.is_floating_point():
        raise ValueError(
            f"expected integer cells (M, D, h, w), got {cells.dtype} {tuple(cells.shape)}"
        )
    cells = cells.int().contiguous()
    flat = cells.flatten()
    if cells.device.type == "cpu":
        if len(flat) and int(flat.max()) >= num_cells:
            raise ValueError(f"expected cells below {num_cells}, got {int(flat.max())}")
        found, starts = kernels.sort_cells(flat.numpy(), num_cells)
        points, offsets = torch.from_numpy(found), torch.from_numpy(starts)
    else:
        points, offsets = sort_cells(flat, num_cells)
    bins, pixels = cells.shape[1], cells.shape[2] * cells.shape[3]
    of_pixel = points // (bins * pixels) * pixels + points % pixels
    return PoolPlan(cells, points, of_pixel, offsets)


def sort_cells(cells: Tensor, num_cells: int) -> tuple[Tensor, Tensor]:
    """Points by cell on any device; on the CPU a counting kernel does the same.

    Args:
        cells: (P,) integer; negative: in none.
        num_cells: number of cells.

    Returns:
        (K,) int64 points, in their own order within a cell, and (num_cells + 1,) int64 starts.
    """
    spare = torch.where(cells < 0, num_cells, cells)  # points outside come last
    ordered, points = spare.sort(stable=True)
    wanted = torch.arange(num_cells + 1, device=cells.device, dtype=ordered.dtype)
    offsets = torch.searchsorted(ordered, wanted)
    return points[: int(offsets[-1])], offsets


def bev_pool(depth: Tensor, context: Tensor, plan: PoolPlan) -> Tensor:
    """Sum depth-weighted contexts into cells; differentiable in both.

    Args:
        depth: (M, D, h, w) weight of each point, a distribution over D as a rule.
        context: (M, C, h, w).
        plan: of the cameras' geometry.

    Returns:
        (num_cells, C) float32 (float64 for float64 input); cells without points are zero. Half
        precision inputs are summed in float32.

    Raises:
        ValueError: shapes that do not belong to the plan.
    """
    shape = tuple(plan.cells.shape)
    fits = depth.shape == shape and context.dim() == 4
    if not fits or (context.shape[0], *context.shape[2:]) != (shape[0], *shape[2:]):
        raise ValueError(
            f"the plan is for depth {shape} and context ({shape[0]}, C, {shape[2]}, {shape[3]}), "
            f"got {tuple(depth.shape)} and {tuple(context.shape)}"
        )
    dtype = torch.float64 if context.dtype == torch.float64 else torch.float32
    depth, context = depth.to(dtype), context.to(dtype)
    rows = context.permute(0, 2, 3, 1).reshape(-1, context.shape[1])  # (M * h * w, C)
    if context.device.type == "cpu":
        pooled: Tensor = _PoolOnCPU.apply(depth, rows, plan)
        return pooled
    return _sum_cells(depth, rows, plan)


def _sum_cells(depth: Tensor, rows: Tensor, plan: PoolPlan) -> Tensor:
    weights = depth.flatten().index_select(0, plan.points)
    if len(plan.points) == 0:
        return (rows.sum() + depth.sum()) * 0 + rows.new_zeros(plan.num_cells, rows.shape[1])
    return F.embedding_bag(
        plan.pixels,
        rows,
        plan.offsets,
        mode="sum",
        per_sample_weights=weights,
        include_last_offset=True,
    )


class _PoolOnCPU(torch.autograd.Function):
    """``embedding_bag`` whose two gradients are made in one pass over the pixels."""

    @staticmethod
    def forward(ctx: Any, depth: Tensor, rows: Tensor, plan: PoolPlan) -> Tensor:
        """See `bev_pool`."""
        ctx.save_for_backward(depth, rows)
        ctx.plan = plan
        return _sum_cells(depth, rows, plan)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradients of depth and rows."""
        depth, rows = ctx.saved_tensors
        depth_grad, rows_grad = kernels.pool_gradients(
            grads[0].contiguous().numpy(),
            depth.detach().contiguous().flatten(2).numpy(),
            rows.detach().contiguous().numpy(),
            ctx.plan.cells.flatten(2).numpy(),
        )
        return (
            torch.from_numpy(depth_grad).view_as(depth),
            torch.from_numpy(rows_grad),
            None,
        )
