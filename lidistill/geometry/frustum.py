# SPDX-License-Identifier: Apache-2.0
"""Points of cameras' frusta and the cells of a BEV map that they fall into."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidistill.geometry.bev_grid import BEVGrid
from lidistill.geometry.depth_bins import DepthBins


def frustum_pixels(
    image_hw: tuple[int, int], feature_hw: tuple[int, int], compat: bool = False
) -> Tensor:
    """Where a feature map's cells look, in pixels of the image.

    Args:
        image_hw: rows and columns of the image that entered the network.
        feature_hw: of the feature map.
        compat: True places columns at ``linspace(0, W - 1, w)``, as the releases of LSS, BEVDet,
            BEVDepth and UniDistill do: off by up to half a stride.

    Returns:
        (h, w, 2) float32 pixel_uv; integers are pixel centres. A cell looks at its centre.
    """
    axes = []
    for size, count in zip(image_hw, feature_hw, strict=True):
        if compat:
            axes.append(torch.linspace(0, size - 1, count))
        else:
            axes.append((torch.arange(count) + 0.5) * (size / count) - 0.5)
    v, u = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([u, v], dim=-1)


def frustum_points(lidar_from_image: NDArray | Tensor, pixels: Tensor, depths: Tensor) -> Tensor:
    """Points at the given depths on the rays of the given pixels.

    Args:
        lidar_from_image: (M, 3, 4) from (u d, v d, d, 1) to metres.
        pixels: (h, w, 2) pixel_uv.
        depths: (D,) metres along the optical axis.

    Returns:
        (3, M, D, h, w) float32 metres in the target frame, axis by axis; under autocast, too.
    """
    matrix = torch.as_tensor(lidar_from_image)
    matrix = matrix.to(pixels.device, torch.float32)
    ray = torch.cat([pixels, torch.ones_like(pixels[..., :1])], -1)  # (h, w, 3)
    with torch.autocast(ray.device.type, enabled=False):  # half a metre is lost at 50 m
        ray = torch.einsum("mij,hwj->imhw", matrix[:, :, :3], ray)
    shift = matrix[:, :, 3].T[:, :, None, None, None]  # (3, M, 1, 1, 1)
    return ray[:, :, None] * depths[:, None, None] + shift


def frustum_cells(points: Tensor, grid: BEVGrid, z_range: tuple[float, float]) -> Tensor:
    """Cell of the map under each point, counted row by row.

    Args:
        points: (3, ...) metres.
        grid: of the map.
        z_range: (low, high) metres; points outside belong to no cell.

    Returns:
        (...) int32, ``row * X + column``; -1 outside of the map.
    """
    x, y, z = points
    cells, inside = grid.index(torch.stack([x, y], -1))
    inside &= (z >= z_range[0]) & (z < z_range[1])
    flat = cells[..., 0] * grid.shape[1] + cells[..., 1]
    return torch.where(inside, flat, -1).int()


def batch_cells(
    lidar_from_image: NDArray,
    present: NDArray[np.bool_],
    pixels: Tensor,
    depths: Tensor,
    grid: BEVGrid,
    z_range: tuple[float, float],
) -> Tensor:
    """Cells of a whole batch: sample b's follow those of the samples before it.

    Args:
        lidar_from_image: (B, N, 3, 4).
        present: (B, N) cameras that are there; points of the others belong to no cell.
        pixels: (h, w, 2).
        depths: (D,) metres.
        grid: of one sample's map.
        z_range: (low, high) metres.

    Returns:
        (B * N, D, h, w) int32, below ``B * Y * X``; -1 for none.
    """
    batch, count = present.shape
    points = frustum_points(lidar_from_image.reshape(-1, 3, 4), pixels, depths)
    cells = frustum_cells(points, grid, z_range)
    first = torch.arange(batch, dtype=torch.int32).repeat_interleave(count) * (
        grid.shape[0] * grid.shape[1]
    )
    first = first.to(cells.device)[:, None, None, None]
    seen = torch.as_tensor(present.reshape(-1), device=cells.device)[:, None, None, None]
    return torch.where((cells >= 0) & seen, cells + first, -1)


def depth_centres(bins: DepthBins, compat: bool = False) -> Tensor:
    """(D,) where a bin's points stand: at its centre, or where ``compat`` at its near edge."""
    return bins.starts() if compat else bins.centres()
