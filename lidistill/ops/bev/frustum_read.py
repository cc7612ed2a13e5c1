# SPDX-License-Identifier: Apache-2.0
"""Voxels out of images: features at the voxel's pixel times the chance that its depth is theirs.

The released way multiplies features (C, h, w) with a distribution over depths (D, h, w) into a
volume (C, D, h, w), 215 MB a KITTI image, and reads it trilinearly. But a voxel's value is

    sum over 4 pixels p of  w(p) (sum over 2 bins d of  w(d) P(d, p))  F(p)

a sparse matrix times the features, whose places depend on the calibration alone: a plan, kept as
long as that holds. With the 1x1 convolution that collapses heights behind it
(:func:`read_and_collapse`) not even the voxels are ever there at once.

Source: Reading et al., CaDDN (2103.01100), section 3.2, "frustum to voxel transformation".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lidistill.ops._threads import in_parallel
from lidistill.ops.bev import _frustum_kernels as kernels
from lidistill.ops.gradients import differentiable_once

CHUNK = 8192
"""Columns of voxels that are read at a time where their heights are collapsed. Each chunk is a
handful of operations at whose end torch's threads wait for one another: few and large ones stand a
busy machine (two threads on one: 2.4 s of processor time in chunks of 512, 0.3 s in one). 8192 are
20 MB at KITTI's size."""


@dataclass(frozen=True)
class FrustumPlan:
    """Which voxels the images of a batch see, and where.

    Attributes:
        columns: (K,) int64 cells of the maps (b, y, x), flattened, over which any voxel is seen.
        cells: (V,) int64 of each voxel: number of its column times Z plus its height, growing.
        whole: (V, 4) int64 image, column, row and depth bin before its place; may be -1.
        part: (V, 3) float32 how far after them, 0..1.
        starts: (K + 1,) int64 first voxel of each column.
        map_shape: (B, Y, X).
        heights: Z.
        feature_hw: of the images' features.
        bins: D.
    """

    columns: Tensor
    cells: Tensor
    whole: Tensor
    part: Tensor
    starts: Tensor
    map_shape: tuple[int, int, int]
    heights: int
    feature_hw: tuple[int, int]
    bins: int

    def to(self, device: torch.device | str) -> FrustumPlan:
        """The same plan on another device."""
        names = ("columns", "cells", "whole", "part", "starts")
        moved = {name: getattr(self, name).to(device) for name in names}
        return FrustumPlan(**{**vars(self), **moved})


def frustum_plan(
    places: Sequence[tuple[int, Tensor]], feature_hw: tuple[int, int], bins: int, samples: int
) -> FrustumPlan:
    """Find what is seen.

    Args:
        places: for each image of the batch the number of its sample, growing, and (X, Y, Z, 3)
            column, row and bin of each voxel in cells of its features, NaN where there is none.
        feature_hw: of the features.
        bins: depth bins D.
        samples: B.

    Raises:
        ValueError: grids of different size, or none.
    """
    sizes = {tuple(grid.shape[:3]) for _, grid in places}
    if len(sizes) != 1:
        raise ValueError(f"expected images that see one grid of voxels, got {sorted(sizes)}")
    ((x_count, y_count, z_count),) = sizes
    limits = torch.tensor([feature_hw[1], feature_hw[0], bins], dtype=torch.float64)
    cells, whole, part = [], [], []
    for image, (sample, grid) in enumerate(places):
        at = grid.permute(1, 0, 2, 3).reshape(-1, 3).double()  # by y, x, z
        seen = ((at > -1) & (at < limits)).all(1).nonzero()[:, 0]  # NaN is not seen
        at = at[seen]
        low = at.floor()
        cells.append(seen + sample * y_count * x_count * z_count)
        whole.append(torch.cat([torch.full_like(low[:, :1], image), low], 1).long())
        part.append((at - low).float())
    flat, order = torch.cat(cells).sort(stable=True)
    columns, inverse, counts = torch.unique_consecutive(
        flat // z_count, return_inverse=True, return_counts=True
    )
    return FrustumPlan(
        columns=columns,
        cells=inverse * z_count + flat % z_count,
        whole=torch.cat(whole)[order].contiguous(),
        part=torch.cat(part)[order].contiguous(),
        starts=torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
        map_shape=(samples, y_count, x_count),
        heights=z_count,
        feature_hw=feature_hw,
        bins=bins,
    )


def read_frustum(features: Tensor, depth: Tensor, plan: FrustumPlan) -> Tensor:
    """Voxels of what the images say; differentiable in both.

    Args:
        features: (M, C, h, w) of all images.
        depth: (M, D, h, w) weight of each bin; a distribution, or what is left of one without its
            class "out of range".
        plan: of their geometry.

    Returns:
        (B, C, Z, Y, X) float32 (float64 for float64), a view of channels-last memory; a voxel that
        several images see is their sum.

    Raises:
        ValueError: shapes that do not belong to the plan.
    """
    rows, weights = _rows(features, depth, plan)
    if rows.device.type == "cpu" and rows.dtype == torch.float32:
        seen: Tensor = _ReadOnCPU.apply(rows, weights, plan)
    else:
        seen = _read(rows, weights, plan)
    batch, y_count, x_count = plan.map_shape
    width = plan.heights * rows.shape[1]
    whole = seen.new_zeros(batch * y_count * x_count, width)
    whole = whole.index_copy(0, plan.columns, seen.reshape(-1, width))
    return whole.view(batch, y_count, x_count, plan.heights, -1).permute(0, 4, 3, 1, 2)


def read_and_collapse(features: Tensor, depth: Tensor, weight: Tensor, plan: FrustumPlan) -> Tensor:
    """The voxels' heights mixed into a map by a 1x1 convolution, without the voxels.

    Equal to ``conv2d(read_frustum(features, depth, plan).flatten(1, 2), weight)``; differentiable
    in the three tensors.

    Args:
        features: (M, C, h, w).
        depth: (M, D, h, w).
        weight: (E, C * Z, 1, 1) or (E, C * Z); channel c of height z is number c * Z + z.
        plan: of the images' geometry.

    Returns:
        (B, E, Y, X), channels last in memory.

    Raises:
        ValueError: shapes that do not belong to the plan.
    """
    rows, weights = _rows(features, depth, plan)
    channels = rows.shape[1]
    if weight.shape[1] != channels * plan.heights:
        raise ValueError(
            f"expected weight (E, {channels} channels * {plan.heights} heights), got "
            f"{tuple(weight.shape)}"
        )
    mixed = weight.reshape(len(weight), channels, plan.heights).to(rows.dtype)
    mixed = mixed.permute(0, 2, 1).reshape(len(weight), -1)  # (E, Z * C), as the rows lie
    batch, y_count, x_count = plan.map_shape
    if rows.device.type == "cpu" and rows.dtype == torch.float32:
        whole: Tensor = _CollapseOnCPU.apply(rows, weights, mixed, plan)
    else:
        seen = _read(rows, weights, plan).reshape(-1, mixed.shape[1]) @ mixed.T
        whole = seen.new_zeros(batch * y_count * x_count, len(weight))
        whole = whole.index_copy(0, plan.columns, seen)
    return whole.view(batch, y_count, x_count, -1).permute(0, 3, 1, 2)


def frustum_volume(features: Tensor, depth: Tensor) -> Tensor:
    """The released outer product: (M, C, D, h, w) of (M, C, h, w) and (M, D, h, w)."""
    return features.unsqueeze(2) * depth.unsqueeze(1)


def sample_volume(volume: Tensor, grid: Tensor) -> Tensor:
    """The released reading of that volume, half a cell off: (M, C, Z, Y, X).

    Args:
        volume: (M, C, D, h, w).
        grid: (M, X, Y, Z, 3) of :func:`lidistill.geometry.voxel_frustum.sample_grid`.
    """
    found = F.grid_sample(volume, grid.to(volume.dtype), align_corners=False)  # (M, C, X, Y, Z)
    return found.permute(0, 1, 4, 3, 2)


def _rows(features: Tensor, depth: Tensor, plan: FrustumPlan) -> tuple[Tensor, Tensor]:
    """(M * h * w, C) features and (M * h * w, D) weights."""
    wanted = (len(features), plan.bins, *plan.feature_hw)
    if depth.shape != wanted or features.shape[2:] != depth.shape[2:]:
        raise ValueError(
            f"the plan is for features (M, C, h, w) with (h, w) = {plan.feature_hw} and depth "
            f"{wanted}, got {tuple(features.shape)} and {tuple(depth.shape)}"
        )
    dtype = torch.float64 if features.dtype == torch.float64 else torch.float32
    features, depth = features.to(dtype), depth.to(dtype)
    rows, weights = (maps.permute(0, 2, 3, 1).flatten(0, 2) for maps in (features, depth))
    return rows, weights


def _read(rows: Tensor, depth: Tensor, plan: FrustumPlan) -> Tensor:
    """(K * Z, C), on any device and in any precision."""
    height, width = plan.feature_hw
    total = len(plan.columns) * plan.heights
    out = rows.new_zeros(total, rows.shape[1])
    if len(plan.cells) == 0:
        return out + (rows.sum() + depth.sum()) * 0
    along = plan.part[:, 2].to(rows.dtype)
    pixels, weights = [], []
    for corner in range(4):
        du, dv = corner % 2, corner // 2
        u, v = plan.whole[:, 1] + du, plan.whole[:, 2] + dv
        inside = (u >= 0) & (v >= 0) & (u < width) & (v < height)
        pixel = torch.where(inside, (plan.whole[:, 0] * height + v) * width + u, 0)
        part = plan.part.to(rows.dtype)
        weight = (part[:, 0] if du else 1 - part[:, 0]) * (part[:, 1] if dv else 1 - part[:, 1])
        chance = rows.new_zeros(len(pixel))
        for step, share in ((0, 1 - along), (1, along)):
            k = plan.whole[:, 3] + step
            known = (k >= 0) & (k < plan.bins)
            chance = chance + share * known * depth[pixel, k.clamp(0, plan.bins - 1)]
        pixels.append(pixel)
        weights.append(weight * inside * chance)
    seen = F.embedding_bag(
        torch.stack(pixels, 1), rows, mode="sum", per_sample_weights=torch.stack(weights, 1)
    )
    return out.index_add(0, plan.cells, seen)


def _kernel_arrays(plan: FrustumPlan) -> tuple[Any, ...]:
    size = torch.tensor(plan.feature_hw).numpy()
    return plan.cells.numpy(), plan.whole.numpy(), plan.part.numpy(), size


class _ReadOnCPU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, depth: Tensor, plan: FrustumPlan) -> Tensor:
        rows, depth = rows.contiguous(), depth.contiguous()
        ctx.save_for_backward(rows, depth)
        ctx.plan = plan
        return _voxels(rows, depth, plan, 0, len(plan.columns))

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        rows, depth = ctx.saved_tensors
        given = torch.zeros_like(rows), torch.zeros_like(depth)
        _add_gradients((rows, depth), ctx.plan, (0, len(ctx.plan.columns)), grads[0], given)
        return *given, None


class _CollapseOnCPU(torch.autograd.Function):
    """A chunk of columns at a time; the backward pass reads each chunk again."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, depth: Tensor, weight: Tensor, plan: FrustumPlan) -> Tensor:
        rows, depth, weight = rows.contiguous(), depth.contiguous(), weight.contiguous()
        ctx.save_for_backward(rows, depth, weight)
        ctx.plan = plan
        batch, y_count, x_count = plan.map_shape
        out = rows.new_zeros(batch * y_count * x_count, len(weight))
        for low, high in _chunks(plan):
            voxels = _voxels(rows, depth, plan, low, high).view(high - low, -1)
            out[plan.columns[low:high]] = voxels @ weight.T
        return out

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        rows, depth, weight = ctx.saved_tensors
        plan, grad = ctx.plan, grads[0]
        given = torch.zeros_like(rows), torch.zeros_like(depth)
        grad_weight = torch.zeros_like(weight)
        for low, high in _chunks(plan):
            voxels = _voxels(rows, depth, plan, low, high).view(high - low, -1)
            piece = grad[plan.columns[low:high]]
            grad_weight.addmm_(piece.T, voxels)
            torch.mm(piece, weight, out=voxels)
            _add_gradients((rows, depth), plan, (low, high), voxels, given)
        return *given, grad_weight, None


def _chunks(plan: FrustumPlan) -> list[tuple[int, int]]:
    """First column of each chunk and the one behind its last."""
    count = len(plan.columns)
    return [(low, min(low + CHUNK, count)) for low in range(0, count, CHUNK)]


def _voxels(rows: Tensor, depth: Tensor, plan: FrustumPlan, low: int, high: int) -> Tensor:
    """((high - low) * Z, C) voxels of columns; threads take columns of their own."""
    out = rows.new_zeros((high - low) * plan.heights, rows.shape[1])
    inputs = (rows.detach().numpy(), depth.detach().numpy())
    arrays, first = _kernel_arrays(plan), low * plan.heights

    def read(begin: int, end: int) -> None:
        window = (int(plan.starts[low + begin]), int(plan.starts[low + end]), first)
        kernels.read(window, arrays, *inputs, out.numpy())

    in_parallel(read, high - low)
    return out


def _add_gradients(
    inputs: tuple[Tensor, Tensor],
    plan: FrustumPlan,
    columns: tuple[int, int],
    grad: Tensor,
    given: tuple[Tensor, Tensor],
) -> None:
    """Add to the gradients of rows and depth; threads take pixels of their own."""
    low, high = columns
    window = (int(plan.starts[low]), int(plan.starts[high]), low * plan.heights)
    rows, depth = (tensor.numpy() for tensor in inputs)
    grad_rows, grad_depth = (tensor.numpy() for tensor in given)
    arrays, source = _kernel_arrays(plan), grad.contiguous().view(-1, rows.shape[1]).numpy()

    def add(first: int, last: int) -> None:
        kernels.read_back(window, (first, last), arrays, rows, depth, source, grad_rows, grad_depth)

    in_parallel(add, len(rows))
