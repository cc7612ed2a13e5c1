# SPDX-License-Identifier: Apache-2.0
"""Where a grid of voxels falls in a camera's frustum of features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lidistill.geometry.depth_scale import DepthScale


def voxel_centres(pc_range: Sequence[float], grid_size: Sequence[int]) -> Tensor:
    """Centres of a grid's cells.

    Args:
        pc_range: x, y, z low, then x, y, z high; metres, LiDAR frame.
        grid_size: cells X, Y, Z.

    Returns:
        (X, Y, Z, 3) float64 metres.
    """
    axes = [
        low + (torch.arange(count, dtype=torch.float64) + 0.5) * (high - low) / count
        for low, high, count in zip(pc_range[:3], pc_range[3:], grid_size, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def frustum_places(
    centres: Tensor, image_from_lidar: Tensor, scale: DepthScale, depth_shift: float = 0.0
) -> Tensor:
    """Pixel and continuous depth bin of points.

    Args:
        centres: (..., 3) metres, LiDAR frame.
        image_from_lidar: (3 or 4, 4) to (u d, v d, d, ...), pixels of the whole image.
        scale: of depths.
        depth_shift: what d has more than the depth that the bins mean: KITTI's ``P2[2, 3]``.

    Returns:
        (..., 3) float64 u, v, bin; NaN where there is no such number (behind the camera).
    """
    matrix = image_from_lidar.to(torch.float64)
    seen = centres.to(torch.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    position = scale.position(seen[..., 2] - depth_shift)
    pixels = seen[..., :2] / seen[..., 2:3]
    return torch.cat([pixels, position[..., None]], dim=-1)


def sample_grid(places: Tensor, image_hw: tuple[int, int], count: int) -> Tensor:
    """Places as CaDDN's release hands them to ``grid_sample``: (..., 3) in -1..1, outside -2.

    Args:
        places: (..., 3) u, v, bin.
        image_hw: rows and columns of the image; of a batch the largest.
        count: depth bins.
    """
    size = torch.tensor([image_hw[1], image_hw[0], count], dtype=places.dtype)
    grid = 2 * places / (size - 1) - 1
    return torch.where(grid.isfinite(), grid, -2.0)


def feature_places(
    places: Tensor,
    image_hw: tuple[int, int],
    feature_hw: tuple[int, int],
    count: int,
    compat: bool = False,
) -> Tensor:
    """The same places counted in cells of a feature volume, integers at their centres.

    Args:
        places: (..., 3) u, v, bin; u and v are integers at pixels' centres.
        image_hw: of the image.
        feature_hw: of the features.
        count: depth bins.
        compat: True as CaDDN's release reads: :func:`sample_grid` stretches corner to corner, and
            ``grid_sample`` reads half a cell off. Up to half a cell from what is right.

    Returns:
        (..., 3) column, row, depth bin; NaN where there is none.
    """
    full = torch.tensor([image_hw[1], image_hw[0], count], dtype=places.dtype)
    cells = torch.tensor([feature_hw[1], feature_hw[0], count], dtype=places.dtype)
    if compat:
        return places * cells / (full - 1) - 0.5
    centre = torch.tensor([0.5, 0.5, 0.0], dtype=places.dtype)  # a bin's number is its near edge
    return (places + centre) * cells / full - 0.5
