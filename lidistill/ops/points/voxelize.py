# SPDX-License-Identifier: Apache-2.0
"""Points into voxels: mmcv's order, rounding and truncation, without its dense grid.

mmcv keeps one integer for each cell of the whole grid and fills it at every call: 0.6 s for the
1408 x 1600 x 40 cells of SECOND. Only occupied cells matter, so a hash table will do: 1 ms.

A point lies in cell ``floor((xyz - origin) / voxel_size)``, computed in the points' own precision;
points outside the grid (NaN included) lie in no cell. Voxels are numbered in the order in which the
points reach them. Deterministic on every device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from lidistill.jit import njit

Array: TypeAlias = np.ndarray


@dataclass(frozen=True)
class VoxelGrid:
    """The cells of a box in space, in mmcv's float32 arithmetic.

    Attributes:
        size: (3,) float32, edge lengths x, y, z of a cell in metres.
        origin: (3,) float32, lowest corner x, y, z in metres, in the points' frame.
        shape: number of cells along x, y, z.
    """

    size: np.ndarray
    origin: np.ndarray
    shape: tuple[int, int, int]

    @classmethod
    def from_range(cls, voxel_size: Sequence[float], point_range: Sequence[float]) -> VoxelGrid:
        """Make a grid from edge lengths (3) and ``x0 y0 z0 x1 y1 z1`` (6), all in metres.

        Raises:
            ValueError: for lengths other than 3 and 6, an edge <= 0, or an empty box.
        """
        size = np.asarray(voxel_size, dtype=np.float32)
        limits = np.asarray(point_range, dtype=np.float32)
        if size.shape != (3,) or limits.shape != (6,):
            raise ValueError(
                "expected 3 voxel edges (x, y, z) and a range of 6 (x0, y0, z0, x1, y1, z1), got "
                f"shapes {size.shape} and {limits.shape}; check voxel_size and point_cloud_range"
            )
        if not (size > 0).all() or not (limits[3:] > limits[:3]).all():
            raise ValueError(
                f"expected positive voxel edges and a range with x1 > x0, y1 > y0, z1 > z0, got "
                f"{size.tolist()} and {limits.tolist()}; check voxel_size and point_cloud_range"
            )
        cells = ((limits[3:] - limits[:3]) / size).astype(np.float64)
        x, y, z = (int(count) for count in np.floor(cells + 0.5))
        return cls(size=size, origin=limits[:3].copy(), shape=(x, y, z))


def dynamic_voxelize(points: Tensor, grid: VoxelGrid) -> Tensor:
    """Find the cell of every point.

    Args:
        points: (N, 3+) floating, xyz in metres first.
        grid: the cells, in the points' frame.

    Returns:
        (N, 3) int32 cell (z, y, x); -1, -1, -1 for points outside the grid.
    """
    _check_points(points)
    if points.device.type == "cpu":
        cells = np.empty((len(points), 3), dtype=np.int32)
        _cells_of_points(_as_numpy(points), grid.size, grid.origin, grid.shape, cells)
        return torch.from_numpy(cells)
    xyz = points[:, :3]
    if xyz.dtype in (torch.float16, torch.bfloat16):
        xyz = xyz.float()
    origin = torch.from_numpy(grid.origin).to(points.device)
    size = torch.from_numpy(grid.size).to(points.device)
    cells_xyz = torch.floor((xyz - origin) / size)  # (N, 3)
    limit = torch.tensor(grid.shape, device=points.device)
    inside = ((cells_xyz >= 0) & (cells_xyz < limit)).all(1, keepdim=True)  # NaN is outside
    return torch.where(inside, cells_xyz, -1.0).int().flip(1)


def hard_voxelize(
    points: Tensor, grid: VoxelGrid, max_points: int, max_voxels: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Gather at most ``max_points`` points for each of the first ``max_voxels`` voxels.

    Args:
        points: (N, C >= 3) floating, xyz in metres first, in the grid's frame.
        grid: the cells.
        max_points: points kept in a voxel: the first ones; -1 for as many as there are points.
        max_voxels: voxels kept: the first ones that points reach; -1 for all.

    Returns:
        features (V, max_points, C) of the points' dtype, zero where a voxel has fewer points;
        coords (V, 3) int32 (z, y, x); counts (V,) int32.
    """
    max_points = max(len(points), 1) if max_points < 0 else max_points
    max_voxels = len(points) if max_voxels < 0 else max_voxels
    features = points.new_zeros((max_voxels, max_points, points.shape[1]))
    coords = points.new_zeros((max_voxels, 3), dtype=torch.int32)
    counts = points.new_zeros((max_voxels,), dtype=torch.int32)
    found = hard_voxelize_into(points, grid, features, coords, counts)
    return features[:found], coords[:found], counts[:found]


def hard_voxelize_into(
    points: Tensor, grid: VoxelGrid, features: Tensor, coords: Tensor, counts: Tensor
) -> int:
    """Do as :func:`hard_voxelize`, into the caller's tensors of zeros; their sizes are the limits.

    Args:
        points: (N, C) floating, xyz in metres first, in the grid's frame.
        grid: the cells.
        features: (max_voxels, max_points, C), written.
        coords: (max_voxels, 3) int32 (z, y, x), written.
        counts: (max_voxels,) int32, written.

    Returns:
        The number of voxels found.
    """
    _check_points(points)
    outputs = (features, coords, counts)
    writable = all(tensor.is_contiguous() for tensor in outputs)
    numpy_has_it = points.dtype in (torch.float32, torch.float64)
    if points.device.type == "cpu" and numpy_has_it and writable:
        arrays = tuple(_as_numpy(tensor) for tensor in outputs)
        return int(_hash_voxelize(_as_numpy(points), grid.size, grid.origin, grid.shape, *arrays))
    return _sort_voxelize(points, grid, features, coords, counts)


def _sort_voxelize(
    points: Tensor, grid: VoxelGrid, features: Tensor, coords: Tensor, counts: Tensor
) -> int:
    """Do as :func:`hard_voxelize_into` with torch's sorts, on any device: the same result."""
    max_voxels, max_points = features.shape[:2]
    cells = dynamic_voxelize(points, grid)
    inside = torch.nonzero(cells[:, 0] >= 0)[:, 0]  # (M,) points that lie in a cell, in order
    if not len(inside) or not max_voxels:
        return 0
    cells_x, cells_y, _ = grid.shape
    cell_z, cell_y, cell_x = cells[inside].long().unbind(1)
    keys = (cell_z * cells_y + cell_y) * cells_x + cell_x  # (M,)

    # Within equal keys a stable sort keeps the points' order: the first of a run is the point
    # that opens the voxel, and the place in the run is the point's slot.
    sorted_keys, order = torch.sort(keys, stable=True)
    opens = torch.ones_like(sorted_keys, dtype=torch.bool)
    opens[1:] = sorted_keys[1:] != sorted_keys[:-1]
    run = torch.cumsum(opens, 0) - 1  # (M,) run of each sorted point
    starts = torch.nonzero(opens)[:, 0]  # (R,)
    slot = torch.arange(len(order), device=order.device) - starts[run]

    voxel_of_run = torch.empty_like(starts)
    by_first_point = torch.argsort(order[starts])
    voxel_of_run[by_first_point] = torch.arange(len(starts), device=starts.device)
    voxel = voxel_of_run[run]

    found = min(len(starts), max_voxels)
    # rows once, not a mask at each use: a GPU is waited for whenever a mask becomes rows
    kept = torch.nonzero((voxel < found) & (slot < max_points))[:, 0]
    voxel = voxel[kept]
    features[voxel, slot[kept]] = points[inside[order[kept]]]
    counts.index_add_(0, voxel, torch.ones_like(voxel, dtype=counts.dtype))
    openers = inside[order[starts[by_first_point[:found]]]]
    coords[:found] = cells[openers].to(coords.dtype)
    return found


def _check_points(points: Tensor) -> None:
    if points.ndim != 2 or points.shape[1] < 3 or not points.is_floating_point():
        raise ValueError(
            f"expected points (N, 3+) of a floating dtype, got {tuple(points.shape)} "
            f"{points.dtype}; pass xyz in the first three columns"
        )


def _as_numpy(tensor: Tensor) -> np.ndarray:
    """The tensor's memory as an array; half precision, which numba lacks, is copied to float32."""
    tensor = tensor.detach()
    if tensor.dtype in (torch.float16, torch.bfloat16):
        tensor = tensor.float()
    return tensor.numpy()


@njit(inline="always")
def _cell_along(value: float, origin: float, size: float, count: int) -> np.int64:
    """Index of the cell along one axis, or -1; compared before the cast: NaN and inf are safe."""
    cell = np.floor((value - origin) / size)
    if cell >= 0 and cell < count:
        return np.int64(cell)
    return np.int64(-1)


@njit
def _cells_of_points(
    points: Array, size: Array, origin: Array, shape: tuple[int, int, int], cells: Array
) -> None:
    for point in range(points.shape[0]):
        x = _cell_along(points[point, 0], origin[0], size[0], shape[0])
        y = _cell_along(points[point, 1], origin[1], size[1], shape[1])
        z = _cell_along(points[point, 2], origin[2], size[2], shape[2])
        if x < 0 or y < 0 or z < 0:
            x = y = z = np.int64(-1)
        cells[point, 0], cells[point, 1], cells[point, 2] = z, y, x


@njit
def _hash_voxelize(
    points: Array,
    size: Array,
    origin: Array,
    shape: tuple[int, int, int],
    features: Array,
    coords: Array,
    counts: Array,
) -> int:
    """Open addressing with linear probing, at most half full; the table holds kept voxels only."""
    max_voxels, max_points = features.shape[0], features.shape[1]
    bits = 4
    while (1 << bits) < 2 * min(points.shape[0], max_voxels):
        bits += 1
    last = (1 << bits) - 1
    shift = np.uint64(64 - bits)
    table_key = np.full(1 << bits, -1, dtype=np.int64)
    table_voxel = np.empty(1 << bits, dtype=np.int32)
    found = 0
    for point in range(points.shape[0]):
        x = _cell_along(points[point, 0], origin[0], size[0], shape[0])
        y = _cell_along(points[point, 1], origin[1], size[1], shape[1])
        z = _cell_along(points[point, 2], origin[2], size[2], shape[2])
        if x < 0 or y < 0 or z < 0:
            continue
        key = (z * shape[1] + y) * shape[0] + x
        # Fibonacci hashing: the top bits of key * 2^64 / golden ratio.
        place = np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> shift)
        while table_key[place] != -1 and table_key[place] != key:
            place = (place + 1) & last
        if table_key[place] == -1:
            if found >= max_voxels:
                continue
            table_key[place] = key
            table_voxel[place] = found
            coords[found, 0], coords[found, 1], coords[found, 2] = z, y, x
            found += 1
        voxel = table_voxel[place]
        slot = counts[voxel]
        if slot < max_points:
            for channel in range(points.shape[1]):
                features[voxel, slot, channel] = points[point, channel]
            counts[voxel] = slot + 1
    return found
