# SPDX-License-Identifier: Apache-2.0
"""Voxelization against a loop over points, by hash (CPU) and by sort (other devices)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lidistill.ops.points import voxelize
from lidistill.ops.points.voxelize import VoxelGrid
from tests.ops.op_cases import VOXEL_GRIDS, points_of_grid


def naive_cells(points: torch.Tensor, grid: VoxelGrid) -> list[tuple[int, int, int] | None]:
    """The cell (z, y, x) of each point, in the points' precision, one at a time."""
    number = np.float64 if points.dtype == torch.float64 else np.float32
    cells: list[tuple[int, int, int] | None] = []
    for row in points.to(torch.float64).numpy():
        cell: list[int] = []
        for axis in range(3):
            with np.errstate(invalid="ignore"):
                place = (number(row[axis]) - grid.origin[axis]) / grid.size[axis]
            if not math.isfinite(place) or not 0 <= math.floor(place) < grid.shape[axis]:
                break
            cell.append(math.floor(place))
        cells.append((cell[2], cell[1], cell[0]) if len(cell) == 3 else None)
    return cells


def naive_voxels(points: torch.Tensor, grid: VoxelGrid, max_points: int, max_voxels: int) -> dict:
    """Points of each voxel in the order of arrival, voxels likewise."""
    voxels: dict[tuple[int, int, int], list[int]] = {}
    for index, cell in enumerate(naive_cells(points, grid)):
        if cell is None or (cell not in voxels and len(voxels) >= max_voxels):
            continue
        members = voxels.setdefault(cell, [])
        if len(members) < max_points:
            members.append(index)
    return voxels


def sort_voxelize(points, grid, max_points, max_voxels):
    """The path of other devices, taken on the CPU."""
    features = points.new_zeros((max_voxels, max_points, points.shape[1]))
    coords = torch.zeros((max_voxels, 3), dtype=torch.int32)
    counts = torch.zeros(max_voxels, dtype=torch.int32)
    found = voxelize._sort_voxelize(points, grid, features, coords, counts)
    return features[:found], coords[:found], counts[:found]


@pytest.mark.parametrize("path", [voxelize.hard_voxelize, sort_voxelize], ids=["hash", "sort"])
@pytest.mark.parametrize("limits", [(5, 1000), (1, 3), (3, 40), (200, 200)])
@pytest.mark.parametrize("count", [0, 1, 300])
@pytest.mark.parametrize("name", VOXEL_GRIDS)
def test_hard_voxelize_equals_loop(path, limits, count, name) -> None:
    grid = VoxelGrid.from_range(*VOXEL_GRIDS[name])
    points = points_of_grid(name, count)
    features, coords, counts = path(points, grid, *limits)
    expected = naive_voxels(points, grid, *limits)
    assert [tuple(cell) for cell in coords.tolist()] == list(expected)
    assert counts.tolist() == [len(members) for members in expected.values()]
    for row, members in zip(features, expected.values(), strict=True):
        torch.testing.assert_close(row[: len(members)], points[members], rtol=0, atol=0)
        assert not row[len(members) :].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_hard_voxelize_in_other_precisions(dtype) -> None:
    grid = VoxelGrid.from_range(*VOXEL_GRIDS["uneven"])
    points = points_of_grid("uneven", 300, dtype)
    features, coords, counts = voxelize.hard_voxelize(points, grid, 4, 50)
    expected = naive_voxels(points, grid, 4, 50)
    assert features.dtype == dtype
    assert [tuple(cell) for cell in coords.tolist()] == list(expected)
    assert counts.tolist() == [len(members) for members in expected.values()]


def test_no_limits_keep_every_point_inside() -> None:
    grid = VoxelGrid.from_range(*VOXEL_GRIDS["uneven"])
    points = points_of_grid("uneven", 200)
    features, coords, counts = voxelize.hard_voxelize(points, grid, -1, -1)
    inside = [cell for cell in naive_cells(points, grid) if cell is not None]
    assert int(counts.sum()) == len(inside)
    assert len(coords) == len(set(inside))
    assert features.shape[1] == 200


@pytest.mark.parametrize("name", VOXEL_GRIDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_dynamic_voxelize_equals_loop(name, dtype) -> None:
    grid = VoxelGrid.from_range(*VOXEL_GRIDS[name])
    points = points_of_grid(name, 400, dtype)
    cells = voxelize.dynamic_voxelize(points, grid)
    expected = [cell or (-1, -1, -1) for cell in naive_cells(points, grid)]
    assert cells.dtype == torch.int32
    assert [tuple(cell) for cell in cells.tolist()] == expected


def test_order_of_points_decides_what_is_kept_only() -> None:
    grid = VoxelGrid.from_range(*VOXEL_GRIDS["pillars"])
    points = points_of_grid("pillars", 500)
    shuffled = points[torch.randperm(500, generator=torch.Generator().manual_seed(0))]
    first = voxelize.hard_voxelize(points, grid, 500, 500)
    second = voxelize.hard_voxelize(shuffled, grid, 500, 500)
    one, other = (
        dict(zip(map(tuple, coords.tolist()), counts.tolist(), strict=True))
        for _, coords, counts in (first, second)
    )
    assert one == other


def test_grid_counts_cells_as_mmcv_does() -> None:
    grid = VoxelGrid.from_range((0.05, 0.05, 0.1), (0, -40, -3, 70.4, 40, 1))
    assert grid.shape == (1408, 1600, 40)
    assert VoxelGrid.from_range((2, 2, 2), (0, 0, 0, 5, 4.9, 1)).shape == (3, 2, 1)


@pytest.mark.parametrize(
    ("voxel", "limits", "message"),
    [
        ((1, 1), (0, 0, 0, 1, 1, 1), "expected 3 voxel edges"),
        ((1, 1, 0), (0, 0, 0, 1, 1, 1), "expected positive voxel edges"),
        ((1, 1, 1), (0, 0, 0, 1, 0, 1), "expected positive voxel edges"),
    ],
)
def test_bad_grids_are_refused(voxel, limits, message) -> None:
    with pytest.raises(ValueError, match=message):
        VoxelGrid.from_range(voxel, limits)


def test_bad_points_are_refused() -> None:
    grid = VoxelGrid.from_range((1, 1, 1), (0, 0, 0, 1, 1, 1))
    with pytest.raises(ValueError, match="floating dtype"):
        voxelize.hard_voxelize(torch.zeros(3, 4, dtype=torch.int32), grid, 1, 1)
    with pytest.raises(ValueError, match=r"points \(N, 3\+\)"):
        voxelize.dynamic_voxelize(torch.zeros(3, 2), grid)
