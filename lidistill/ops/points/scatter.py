# SPDX-License-Identifier: Apache-2.0
"""Point features reduced to the voxels that hold the points: sum, mean or maximum."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lidistill.ops.precision import full_precision

REDUCTIONS = ("sum", "mean", "max")


def unique_rows(coords: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find the different rows of non-negative coordinates, in lexicographic order.

    Rows with a negative entry belong to no voxel. Rows are packed into one integer where they fit,
    which sorts many times faster than rows do.

    Args:
        coords: (N, D) integer.

    Returns:
        rows (V, D) of the same dtype; row_of_point (N,) int64, -1 for none; counts (V,) int64.
    """
    row_of_point = torch.full((len(coords),), -1, dtype=torch.int64, device=coords.device)
    inside = torch.nonzero((coords >= 0).all(1))[:, 0]
    if not len(inside):
        return coords[:0].clone(), row_of_point, row_of_point[:0].clone()
    valid = coords[inside].long()
    extents = [int(extent) for extent in valid.amax(0) + 1]
    if math.prod(extents) >= 2**62:
        rows, inverse, counts = torch.unique(valid, dim=0, return_inverse=True, return_counts=True)
        row_of_point[inside] = inverse
        return rows.to(coords.dtype), row_of_point, counts
    keys = valid[:, 0]
    for column, extent in enumerate(extents[1:], start=1):
        keys = keys * extent + valid[:, column]
    packed, inverse, counts = torch.unique(keys, return_inverse=True, return_counts=True)
    row_of_point[inside] = inverse
    columns = []
    for extent in reversed(extents):
        columns.append(packed % extent)
        packed = packed // extent
    return torch.stack(columns[::-1], 1).to(coords.dtype), row_of_point, counts


def reduce_points(features: Tensor, row_of_point: Tensor, counts: Tensor, reduction: str) -> Tensor:
    """Reduce point features to voxels.

    Args:
        features: (N, C) floating.
        row_of_point: (N,) int64 voxel of each point, -1 for none.
        counts: (V,) points of each voxel, at least 1.
        reduction: ``sum``, ``mean`` or ``max``.

    Returns:
        (V, C) of the features' dtype; half precision is summed in float32.
    """
    _check_reduction(reduction)
    inside = row_of_point >= 0
    index = row_of_point[inside]
    if reduction == "max":
        highest = features.new_zeros((len(counts), features.shape[1]))
        index = index[:, None].expand(-1, features.shape[1])
        return highest.scatter_reduce_(0, index, features[inside], "amax", include_self=False)
    rows = full_precision(features[inside])
    total = rows.new_zeros((len(counts), features.shape[1])).index_add_(0, index, rows)
    if reduction == "mean":
        total /= counts[:, None].to(total.dtype)
    return total.to(features.dtype)


def reduce_points_backward(
    grad_reduced: Tensor,
    features: Tensor,
    reduced: Tensor,
    row_of_point: Tensor,
    counts: Tensor,
    reduction: str,
) -> Tensor:
    """Gradient of :func:`reduce_points`; a maximum reached by several points goes to the first.

    Args:
        grad_reduced: (V, C).
        features: (N, C) the forward input.
        reduced: (V, C) the forward output.
        row_of_point: (N,) voxel of each point, -1 for none.
        counts: (V,).
        reduction: as in the forward pass.

    Returns:
        (N, C).
    """
    _check_reduction(reduction)
    grad = torch.zeros_like(features)
    inside = torch.nonzero(row_of_point >= 0)[:, 0]
    if not len(inside) or not len(reduced):
        return grad
    index = row_of_point[inside].long()
    if reduction != "max":
        scale = counts[index, None].to(grad.dtype) if reduction == "mean" else 1
        grad[inside] = grad_reduced[index] / scale
        return grad
    wide_index = index[:, None].expand(-1, features.shape[1])
    nobody = len(features)
    reaches = features[inside] == reduced[index]
    candidate = torch.where(reaches, inside[:, None], nobody)  # (M, C) point that may be the first
    first = torch.full(reduced.shape, nobody, dtype=torch.int64, device=features.device)
    first.scatter_reduce_(0, wide_index, candidate, "amin")
    is_first = first[index] == inside[:, None]
    grad[inside] = torch.where(is_first, grad_reduced[index], 0)
    return grad


def _check_reduction(reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f"expected reduction in {REDUCTIONS}, got {reduction!r}")
