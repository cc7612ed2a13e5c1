# SPDX-License-Identifier: Apache-2.0
"""Our stand-ins for mmcv's ops beside mmcv's way of doing it, written again.

The references are mmcv's algorithms: the voxelizer that fills a grid of the whole range at every
call (its loop compiled by numba), the scatter that sorts rows of coordinates.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lidistill.bench.case import Case
from lidistill.bench.mmcv._calls import scan
from lidistill.jit import njit
from lidistill.ops.points import scatter as scatter_points
from lidistill.ops.points import voxelize
from lidistill.ops.points.voxelize import VoxelGrid

SECOND = VoxelGrid.from_range((0.05, 0.05, 0.1), (0, -40, -3, 70.4, 40, 1))
CENTERPOINT = VoxelGrid.from_range((0.1, 0.1, 0.2), (-51.2, -51.2, -5, 51.2, 51.2, 3))


def cases(size: str) -> list[Case]:
    """Voxelization at two detectors' grids, and the reduction of points to voxels."""
    if size == "quick":
        coarse = VoxelGrid.from_range((0.4, 0.4, 0.4), (0, -40, -3, 70.4, 40, 1))
        return [_voxelization("quick", coarse, 2000, 5, 1000), _scatter(2000)]
    return [
        _voxelization("SECOND", SECOND, 20_000, 5, 16_000),
        _voxelization("CenterPoint", CENTERPOINT, 250_000, 10, 90_000),
        _scatter(100_000),
    ]


def _voxelization(name: str, grid: VoxelGrid, count: int, max_points: int, max_voxels: int) -> Case:
    points = scan(count)
    if grid.origin[0] == 0:  # a car's camera sees what lies in front
        points[:, 0] = points[:, 0].abs()
    cells = " x ".join(f"{number:,}" for number in grid.shape)
    return Case(
        name=f"hard voxelization, {name}",
        size=f"{count:,} points, {cells} cells, {max_points} points in {max_voxels:,} voxels",
        reference=lambda: dense_voxelize(points, grid, max_points, max_voxels),
        ours=lambda: voxelize.hard_voxelize(points, grid, max_points, max_voxels),
    )


def _scatter(count: int) -> Case:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(count, 32, generator=generator)
    coords = voxelize.dynamic_voxelize(scan(count), CENTERPOINT)

    def reference() -> Tensor:
        masked = coords.masked_fill((coords < 0).any(1, keepdim=True), -1)
        rows, index, counts = torch.unique(masked, dim=0, return_inverse=True, return_counts=True)
        sums = features.new_zeros((len(rows), 32)).index_add_(0, index, features)
        outside = int(rows[0, 0] < 0)  # points outside the grid share a first row
        return (sums / counts[:, None])[outside:]

    def ours() -> Tensor:
        _, index, counts = scatter_points.unique_rows(coords)
        return scatter_points.reduce_points(features, index, counts, "mean")

    return Case(
        name="points to voxels, mean", size=f"{count:,} x 32", reference=reference, ours=ours
    )


def dense_voxelize(
    points: Tensor, grid: VoxelGrid, max_points: int, max_voxels: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Hard voxelization by a voxel number for each cell of the grid, as mmcv 2.1 does."""
    features = points.new_zeros((max_voxels, max_points, points.shape[1]))
    coords = torch.zeros((max_voxels, 3), dtype=torch.int32)
    counts = torch.zeros((max_voxels,), dtype=torch.int32)
    cells = voxelize.dynamic_voxelize(points, grid)
    voxel_of_cell = -torch.ones(grid.shape[::-1], dtype=torch.int32)
    outputs = (features.numpy(), coords.numpy(), counts.numpy())
    found = _dense_fill(points.numpy(), cells.numpy(), voxel_of_cell.numpy(), *outputs)
    return features[:found], coords[:found], counts[:found]


@njit
def _dense_fill(
    points: np.ndarray,
    cells: np.ndarray,
    voxel_of_cell: np.ndarray,
    features: np.ndarray,
    coords: np.ndarray,
    counts: np.ndarray,
) -> int:
    found = 0
    for point in range(len(points)):
        z, y, x = cells[point]
        if z < 0:
            continue
        voxel = voxel_of_cell[z, y, x]
        if voxel < 0:
            if found >= len(features):
                continue
            voxel = found
            voxel_of_cell[z, y, x] = voxel
            coords[voxel] = cells[point]
            found += 1
        if counts[voxel] < features.shape[1]:
            features[voxel, counts[voxel]] = points[point]
            counts[voxel] += 1
    return found
