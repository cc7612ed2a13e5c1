# SPDX-License-Identifier: Apache-2.0
"""Points and voxels: ``spcount`` and ``spvoxelize``, ``calc_ti_weights`` and ``spdevoxelize``.

Half precision is summed in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lidistill.ops.precision import full_precision
from lidistill.ops.segments.segment import divide_by_count, segment_count, segment_sum
from lidistill.ops.torchsparse.nn.utils import get_kernel_offsets


def spcount(coords: Tensor, num: int | Tensor) -> Tensor:
    """Points of each voxel.

    Args:
        coords: (N,) integer voxel of each point; negative for none.
        num: number of voxels V.

    Returns:
        (V,) int32.
    """
    return segment_count(coords, int(num)).int()


def spvoxelize(feats: Tensor, coords: Tensor, counts: Tensor) -> Tensor:
    """Mean over the points of each voxel.

    Args:
        feats: (N, C).
        coords: (N,) integer voxel of each point; negative for none.
        counts: (V,) of `spcount`.

    Returns:
        (V, C) of the features' dtype; zero for a voxel without points.
    """
    total = segment_sum(feats, coords, len(counts))
    return divide_by_count(total, counts).to(feats.dtype)


@torch.no_grad()
def calc_ti_weights(coords: Tensor, idx_query: Tensor, scale: float = 1) -> Tensor:
    """Trilinear shares of the eight voxels around a point; they sum to one over those there are.

    Args:
        coords: (N, 4) or (N, 3), x y z first, in voxels of stride 1.
        idx_query: (8, N) rows of the voxels in the order of `get_kernel_offsets` of size 2; -1 for
            a voxel that is not there.
        scale: stride of the voxels.

    Returns:
        (8, N) float32 (float64 for such coordinates); zero for voxels that are not there, and so
        for all eight of a point that has none.
    """
    points = full_precision(coords)[:, :3]
    low = torch.floor(points / scale) * scale
    shares = torch.stack([low + scale - points, points - low]) / scale  # (2, N, 3)
    corners = get_kernel_offsets(2, device=coords.device).long()  # (8, 3) of 0 and 1
    axes = torch.arange(3, device=coords.device)
    weights = shares[corners, :, axes].prod(1)  # (8, N)
    weights = weights.masked_fill(idx_query == -1, 0)
    return weights / (weights.sum(0) + 1e-8)


def spdevoxelize(feats: Tensor, coords: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum over the voxels around each point.

    Args:
        feats: (V, C).
        coords: (N, 8) integer rows of the voxels; -1 for none.
        weights: (N, 8).

    Returns:
        (N, C) of the features' dtype. Differentiable in the features.
    """
    rows = full_precision(feats)
    rows = torch.cat([rows, rows.new_zeros(1, rows.shape[1])])  # where there is no voxel
    places = torch.where(coords < 0, len(feats), coords).long()
    shares = weights.detach().to(rows.dtype)
    out = rows.new_zeros((len(coords), rows.shape[1]))
    for corner in range(coords.shape[1]):
        out = out + shares[:, corner, None] * rows[places[:, corner]]
    return out.to(feats.dtype)
