# SPDX-License-Identifier: Apache-2.0
"""Voxel grids: which cell a point falls in, and which points share a cell.

Coordinates are ``(z, y, x)`` int32, contiguous, from 0; a cylindrical grid names its axes
``(z, phi, rho)``. Cell k of an axis covers ``[start + k * size, start + (k + 1) * size)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ALIGN = 16  # cells; the deepest stride of the networks here


@dataclass
class VoxelIndex:
    """Occupied voxels of a cloud.

    Attributes:
        coords: (V, 3) int32 (z, y, x), contiguous, unique, in ascending order.
        point_to_voxel: (N,) int64 row of ``coords``, -1 for points outside the grid.
        representative: (V,) int64 first point of each voxel.
    """

    coords: NDArray[np.int32]
    point_to_voxel: NDArray[np.int64]
    representative: NDArray[np.int64]

    def mean(self, values: NDArray) -> NDArray[np.float32]:
        """(V, C) float32 mean over the points of each voxel of values (N, C)."""
        inside = self.point_to_voxel >= 0
        voxel = self.point_to_voxel[inside]
        count = np.bincount(voxel, minlength=len(self.coords))
        columns = [
            np.bincount(voxel, weights=column[inside], minlength=len(self.coords)) / count
            for column in values.T
        ]
        return np.stack(columns, axis=1).astype(np.float32)

    def first(self, values: NDArray) -> NDArray[np.float32]:
        """(V, C) float32 value of the first point of each voxel of values (N, C)."""
        return np.asarray(values[self.representative], dtype=np.float32)


class CartesianVoxels:
    """Regular grid in metres.

    Args:
        size: Cell size (x, y, z), metres.
        point_range: (x0, y0, z0, x1, y1, z1) metres; points outside have no voxel.

    Raises:
        ValueError: If a size is not positive or the range is empty.
    """

    def __init__(
        self,
        size: tuple[float, float, float] = (0.1, 0.1, 0.2),
        point_range: tuple[float, ...] = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0),
    ) -> None:
        self.size = np.asarray(size, dtype=np.float64)
        bounds = np.asarray(point_range, dtype=np.float64)
        if self.size.shape != (3,) or bounds.shape != (6,) or (self.size <= 0).any():
            raise ValueError(
                f"expected 3 positive sizes and a point_range of 6, got {size}, {point_range}"
            )
        self.start = bounds[:3]
        cells = np.rint((bounds[3:] - bounds[:3]) / self.size).astype(int)
        if (cells <= 0).any():
            raise ValueError(f"expected a range with x0 < x1, y0 < y1, z0 < z1, got {point_range}")
        self.spatial_shape: tuple[int, int, int] = (int(cells[2]), int(cells[1]), int(cells[0]))

    def quantize(self, points: NDArray) -> VoxelIndex:
        """Voxels of points (N, 3+): x, y, z metres, further columns ignored."""
        xyz = np.asarray(points[:, :3], dtype=np.float64)
        cells = np.floor((xyz - self.start) / self.size)
        return _group(cells[:, ::-1], self.spatial_shape)


class CylindricalVoxels:
    """Grid of distance from the z axis, azimuth and height, as SLidR's MinkUNet reads the cloud.

    Cells are counted from rho = 0, phi = 0 and z = 0 and then shifted by a multiple of 16 cells to
    make them positive, so that stride-2 levels group the same cells as an unbounded grid does. The
    azimuth does not wrap: -180 and +180 degrees are the two ends.

    Args:
        size: Cell size (rho metres, phi degrees, z metres).
        rho_max: Metres; points farther have no voxel.
        z_range: Metres; widened to whole blocks of 16 cells, points outside have no voxel.

    Source: SLidR (2203.16258) section 4.1; voxels of 10 cm, 1 degree, 10 cm.
    """

    def __init__(
        self,
        size: tuple[float, float, float] = (0.1, 1.0, 0.1),
        rho_max: float = 128.0,
        z_range: tuple[float, float] = (-12.8, 25.6),
    ) -> None:
        self.size = np.asarray(size, dtype=np.float64)
        if self.size.shape != (3,) or (self.size <= 0).any():
            raise ValueError(f"expected 3 positive sizes (rho, phi, z), got {size}")
        if rho_max <= 0 or z_range[0] >= z_range[1]:
            raise ValueError(f"expected rho_max > 0 and z0 < z1, got {rho_max}, {z_range}")
        ends = np.array([rho_max, 180.0 + self.size[1] / 2, z_range[1]]) / self.size
        starts = np.array([0.0, -180.0, z_range[0]]) / self.size
        first = np.floor(_snap(starts) / ALIGN).astype(int) * ALIGN
        last = np.ceil(_snap(ends) / ALIGN).astype(int) * ALIGN
        self.first = first
        rho, phi, z = (int(n) for n in last - first)
        self.spatial_shape: tuple[int, int, int] = (z, phi, rho)

    def quantize(self, points: NDArray) -> VoxelIndex:
        """Voxels of points (N, 3+): x, y, z metres, further columns ignored."""
        cells = np.floor(self.coordinates(points) / self.size) - self.first
        return _group(cells[:, ::-1], self.spatial_shape)

    @staticmethod
    def coordinates(points: NDArray) -> NDArray[np.float64]:
        """(N, 3) float64 (rho metres, phi degrees in [-180, 180], z metres) of points (N, 3+)."""
        x, y, z = np.asarray(points[:, :3], dtype=np.float64).T
        return np.stack([np.sqrt(x * x + y * y), np.rad2deg(np.arctan2(y, x)), z], axis=1)


def _snap(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cell counts that are whole up to rounding, made whole: 12.8 / 0.1 is not quite 128."""
    whole = np.rint(cells)
    return np.where(np.abs(cells - whole) < 1e-6, whole, cells)


def _group(cells_zyx: NDArray[np.float64], shape: tuple[int, int, int]) -> VoxelIndex:
    inside = ((cells_zyx >= 0) & (cells_zyx < shape)).all(axis=1)
    rows = np.flatnonzero(inside)
    cells = cells_zyx[rows].astype(np.int64)
    key = (cells[:, 0] * shape[1] + cells[:, 1]) * shape[2] + cells[:, 2]
    _, first, voxel = np.unique(key, return_index=True, return_inverse=True)
    point_to_voxel = np.full(len(cells_zyx), -1, dtype=np.int64)
    point_to_voxel[rows] = voxel.reshape(-1)
    coords = np.ascontiguousarray(cells[first], dtype=np.int32)
    return VoxelIndex(coords, point_to_voxel, rows[first])
