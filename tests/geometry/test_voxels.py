# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from lidistill.geometry.voxels import CartesianVoxels, CylindricalVoxels


def cloud(seed: int = 0, count: int = 2000) -> np.ndarray:
    rng = np.random.default_rng(seed)
    points = np.c_[rng.normal(size=(count, 2)) * 6, rng.normal(size=count), rng.random(count)]
    return points.astype(np.float32)


def naive_groups(cells, shape):
    """Cell -> rows of its points, in the order of the points; outside points are left out."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, cell in enumerate(cells):
        if all(0 <= c < n for c, n in zip(cell, shape, strict=True)):
            groups.setdefault(tuple(cell), []).append(row)
    return groups


def check(index, points, groups):
    assert {tuple(c) for c in index.coords.tolist()} == set(groups)
    assert len(index.coords) == len(groups)
    assert index.coords.dtype == np.int32
    assert index.coords.flags["C_CONTIGUOUS"]
    assert index.coords.tolist() == sorted(index.coords.tolist())
    outside = set(range(len(points)))
    for voxel, cell in enumerate(map(tuple, index.coords.tolist())):
        rows = groups[cell]
        outside -= set(rows)
        assert index.representative[voxel] == rows[0]
        assert (index.point_to_voxel[rows] == voxel).all()
        np.testing.assert_allclose(
            index.mean(points)[voxel],
            points[rows].astype(np.float64).mean(axis=0),
            rtol=1e-5,
            atol=1e-6,
        )
        np.testing.assert_array_equal(index.first(points)[voxel], points[rows[0]])
    assert (index.point_to_voxel[sorted(outside)] == -1).all()


def test_cartesian_equals_a_naive_loop():
    grid = CartesianVoxels(size=(0.5, 0.8, 0.4), point_range=(-8, -4, -2, 8, 12, 2))
    assert grid.spatial_shape == (10, 20, 32)
    points = cloud(count=400)
    cells = []
    for x, y, z, _ in points.astype(np.float64):
        cells.append(
            (
                int(np.floor((z + 2) / 0.4)),
                int(np.floor((y + 4) / 0.8)),
                int(np.floor((x + 8) / 0.5)),
            )
        )
    index = grid.quantize(points)
    check(index, points, naive_groups(cells, grid.spatial_shape))
    assert (index.point_to_voxel < 0).any()


def test_cylindrical_equals_a_naive_loop():
    grid = CylindricalVoxels(size=(0.5, 4.0, 0.4), rho_max=16.0, z_range=(-3.2, 3.2))
    points = cloud(1, 400)
    cells = []
    for x, y, z, _ in points.astype(np.float64):
        rho, phi = np.sqrt(x * x + y * y), np.degrees(np.arctan2(y, x))
        cells.append(
            (int(np.floor(z / 0.4)) + 16, int(np.floor(phi / 4)) + 48, int(np.floor(rho / 0.5)))
        )
    check(grid.quantize(points), points, naive_groups(cells, grid.spatial_shape))


def test_default_cylinder_is_slidr_s_and_its_shift_keeps_the_strides():
    grid = CylindricalVoxels()
    assert grid.spatial_shape == (384, 384, 1280)
    assert (grid.first % 16 == 0).all()
    assert grid.first.tolist() == [0, -192, -128]
    index = grid.quantize(np.array([[3.0, 0.0, 0.0]], np.float32))
    assert index.coords.tolist() == [[128, 192, 30]]


def test_both_ends_of_the_azimuth_are_cells():
    grid = CylindricalVoxels()
    points = np.array([[-5.0, 0.0, 0.0], [-5.0, -1e-9, 0.0]])
    phi = grid.quantize(points).coords[:, 1]
    assert sorted(phi.tolist()) == [12, 372]  # -180 and +180 degrees do not meet
    assert (grid.quantize(points).point_to_voxel >= 0).all()


def test_order_of_points_does_not_change_the_voxels():
    grid, points = CylindricalVoxels(), cloud(2)
    order = np.random.default_rng(0).permutation(len(points))
    first, second = grid.quantize(points), grid.quantize(points[order])
    np.testing.assert_array_equal(first.coords, second.coords)
    np.testing.assert_array_equal(first.point_to_voxel[order], second.point_to_voxel)


def test_turning_the_cloud_by_one_azimuth_cell_shifts_the_voxels():
    grid = CylindricalVoxels(size=(0.5, 2.0, 0.5))
    rho, phi = 5.25, np.deg2rad(np.arange(-89, 89, 2.0))  # cell centres

    def ring(angle):
        return np.c_[rho * np.cos(phi + angle), rho * np.sin(phi + angle), np.zeros_like(phi)]

    still, turned = grid.quantize(ring(0.0)), grid.quantize(ring(np.deg2rad(2.0)))
    np.testing.assert_array_equal(turned.coords, still.coords + np.array([0, 1, 0]))


def test_empty_cloud_and_cloud_outside():
    for grid in (CartesianVoxels(), CylindricalVoxels()):
        index = grid.quantize(np.zeros((0, 4), np.float32))
        assert index.coords.shape == (0, 3)
        index = grid.quantize(np.full((5, 4), 1e4, np.float32))
        assert index.coords.shape == (0, 3)
        assert (index.point_to_voxel == -1).all()
        assert index.mean(np.zeros((5, 2), np.float32)).shape == (0, 2)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="3 positive sizes"):
        CartesianVoxels(size=(0.1, 0.1, 0.0))
    with pytest.raises(ValueError, match="x0 < x1"):
        CartesianVoxels(point_range=(1, 0, 0, 0, 1, 1))
    with pytest.raises(ValueError, match="rho, phi, z"):
        CylindricalVoxels(size=(0.1, -1, 0.1))
    with pytest.raises(ValueError, match="rho_max"):
        CylindricalVoxels(rho_max=0)
