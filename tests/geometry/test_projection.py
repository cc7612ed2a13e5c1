# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from lidistill.geometry.frames import compose, invert, make_transform
from lidistill.geometry.projection import (
    camera_from_lidar,
    pair_points,
    project,
    split_projection,
    visible,
)

# Camera x right, y down, z forward in a LiDAR frame with x forward, y left, z up.
CAMERA_FROM_FORWARD = make_transform([[0, -1, 0], [0, 0, -1], [1, 0, 0]], [0.0, 0.0, 0.0])


def rig(rng: np.random.Generator, cameras: int = 3):
    """Cameras that look around, each a bit off; intrinsics for 60 x 100 pixels."""
    transforms, intrinsics = [], []
    for index in range(cameras):
        yaw = 2 * np.pi * index / cameras
        turn = make_transform([np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)], rng.normal(size=3) * 0.2)
        transforms.append(compose(CAMERA_FROM_FORWARD, invert(turn)))
        intrinsics.append([[60.0 + index, 0, 50.2], [0, 61.0, 29.7], [0, 0, 1]])
    return np.stack(transforms), np.array(intrinsics)


def naive_pairs(points, transforms, intrinsics, image_hw, min_depth=1.0):
    found = []
    for camera, (transform, matrix, (height, width)) in enumerate(
        zip(transforms, intrinsics, image_hw, strict=True)
    ):
        for index, point in enumerate(points):
            x, y, z = transform[:3, :3] @ point[:3].astype(np.float64) + transform[:3, 3]
            if z <= min_depth:
                continue
            u = matrix[0, 0] * x / z + matrix[0, 1] * y / z + matrix[0, 2]
            v = matrix[1, 1] * y / z + matrix[1, 2]
            if 0 < u < width - 1 and 0 < v < height - 1:
                found.append((index, camera, u, v))
    return found


def test_pairs_equal_a_naive_loop():
    rng = np.random.default_rng(0)
    transforms, intrinsics = rig(rng)
    sizes = np.array([[60, 100], [50, 90], [60, 100]])
    points = (rng.normal(size=(500, 5)) * 10).astype(np.float32)
    pairs = pair_points(points, transforms, intrinsics, sizes)
    expected = naive_pairs(points, transforms, intrinsics, sizes)
    assert len(pairs) == len(expected) > 100
    assert [tuple(row) for row in np.c_[pairs.point, pairs.camera]] == [e[:2] for e in expected]
    np.testing.assert_allclose(pairs.pixel_uv, [e[2:] for e in expected], rtol=1e-12)


def test_borders_are_strict_and_depth_too():
    matrix = np.array([[[10.0, 0, 0], [0, 10.0, 0], [0, 0, 1]]])
    # depth 10: u = x, v = y. An image of 5 x 6 keeps 0 < u < 5 and 0 < v < 4.
    points = np.array(
        [[0, 2, 10], [5, 2, 10], [3, 0, 10], [3, 4, 10], [3, 2, 10], [0.1, 0.1, 1]], np.float32
    )
    pairs = pair_points(points, np.eye(4)[None], matrix, (5, 6))
    assert pairs.point.tolist() == [4]
    assert pairs.rowcol().tolist() == [[2, 3]]


def test_project_agrees_with_pairs_and_also_serves_points_behind():
    rng = np.random.default_rng(3)
    transforms, intrinsics = rig(rng)
    points = (rng.normal(size=(200, 3)) * 10).astype(np.float32)
    pairs = pair_points(points, transforms, intrinsics, (60, 100))
    uv, depth = project(points, transforms[1], intrinsics[1])
    chosen = pairs.camera == 1
    np.testing.assert_allclose(uv[pairs.point[chosen]], pairs.pixel_uv[chosen], rtol=1e-12)
    assert (depth[pairs.point[chosen]] > 1).all()
    assert (depth < 0).any()


def test_one_composed_transform_is_the_chain_through_both_ego_poses():
    rng = np.random.default_rng(1)
    parts = [make_transform(rng.normal(size=4), rng.normal(size=3) * 500) for _ in range(4)]
    camera_to_ego, ego_camera, ego_lidar, lidar_to_ego = parts
    expected = np.linalg.inv(camera_to_ego) @ np.linalg.inv(ego_camera) @ ego_lidar @ lidar_to_ego
    np.testing.assert_allclose(camera_from_lidar(*parts), expected, atol=1e-9)


def test_moving_the_world_changes_no_pair():
    rng = np.random.default_rng(4)
    transforms, intrinsics = rig(rng)
    points = (rng.normal(size=(300, 3)) * 8).astype(np.float64)
    pairs = pair_points(points, transforms, intrinsics, (60, 100))
    new_from_old = make_transform(rng.normal(size=4), [30.0, -5.0, 2.0])
    moved = points @ new_from_old[:3, :3].T + new_from_old[:3, 3]
    again = pair_points(moved, transforms @ invert(new_from_old), intrinsics, (60, 100))
    np.testing.assert_array_equal(again.point, pairs.point)
    np.testing.assert_allclose(again.pixel_uv, pairs.pixel_uv, atol=1e-9)


def test_empty_cloud_gives_no_pairs():
    transforms, intrinsics = rig(np.random.default_rng(0))
    assert len(pair_points(np.zeros((0, 5), np.float32), transforms, intrinsics, (60, 100))) == 0


def test_nan_points_pair_with_nothing():
    points = np.full((4, 3), np.nan, np.float32)
    transforms, intrinsics = rig(np.random.default_rng(0))
    assert len(pair_points(points, transforms, intrinsics, (60, 100))) == 0


def test_wrong_shapes_are_named():
    transforms, intrinsics = rig(np.random.default_rng(0))
    with pytest.raises(ValueError, match="points_xyz"):
        pair_points(np.zeros((5, 2)), transforms, intrinsics, (60, 100))
    with pytest.raises(ValueError, match="camera_from_lidar"):
        pair_points(np.zeros((5, 3)), transforms, intrinsics[:2], (60, 100))
    intrinsics[0, 2] = [0, 0, 2]
    with pytest.raises(ValueError, match="last row"):
        pair_points(np.zeros((5, 3)), transforms, intrinsics, (60, 100))


def test_occlusion_hides_what_stands_behind_a_much_nearer_point():
    uv = np.array([[100.0, 100.0], [101.0, 101.0], [400.0, 100.0], [101.0, 102.0]])
    depth = np.array([5.0, 30.0, 30.0, 7.0])
    assert visible(uv, depth, focal=1266.0).tolist() == [True, False, True, True]
    assert visible(uv[:0], depth[:0], focal=1266.0).shape == (0,)


def test_occlusion_equals_a_naive_loop():
    rng = np.random.default_rng(6)
    uv, depth = rng.uniform(0, 200, (300, 2)), rng.uniform(1, 50, 300)
    focal, window = 300.0, np.deg2rad((0.5, 1.4)) * 300.0
    expected = []
    for a in range(300):
        same = [b for b in range(300) if (uv[a] // window == uv[b] // window).all()]
        expected.append(min(depth[same]) >= 0.6 * depth[a])
    assert visible(uv, depth, focal).tolist() == expected
    assert not all(expected)


def test_occlusion_only_removes_pairs_and_keeps_a_road_and_a_wall():
    lidar_height, ring = 1.8, np.deg2rad(np.arange(-25, -1, 1.3))
    azimuth = np.deg2rad(np.arange(-20, 20, 0.33))
    radius = -lidar_height / np.tan(ring)  # the road; beyond 25 m a wall stands
    radius = np.minimum(radius, 25.0)
    grid = np.stack(np.meshgrid(radius, azimuth, indexing="ij"), -1).reshape(-1, 2)
    height = np.repeat(np.tan(ring) * radius, len(azimuth))
    points = np.c_[grid[:, 0] * np.cos(grid[:, 1]), grid[:, 0] * np.sin(grid[:, 1]), height]
    camera = compose(make_transform(np.eye(3), [0, -0.3, 0]), CAMERA_FROM_FORWARD)
    arguments = (camera[None], np.array([[[1266.0, 0, 800], [0, 1266.0, 450], [0, 0, 1]]]))
    open_view = pair_points(points, *arguments, (900, 1600))
    tested = pair_points(points, *arguments, (900, 1600), occlusion=True)
    assert len(tested) >= 0.98 * len(open_view) > 500
    assert set(tested.point) <= set(open_view.point)


def test_projection_matrix_with_an_offset_is_split():
    rng = np.random.default_rng(0)
    intrinsics = np.array([[700.0, 0, 600], [0, 710.0, 180], [0, 0, 1]])
    projection = np.eye(4)
    projection[:3, :3], projection[:3, 3] = intrinsics, [45.0, -0.3, 0.005]
    matrix, shift = split_projection(projection)
    point = np.array([*rng.normal(size=2), 10.0, 1.0])
    np.testing.assert_allclose(matrix @ (shift @ point)[:3], (projection @ point)[:3])
    np.testing.assert_array_equal(split_projection(intrinsics)[1], np.eye(4))
