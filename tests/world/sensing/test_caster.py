# SPDX-License-Identifier: Apache-2.0
"""The column caster equals testing every primitive with every ray."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lidistill.bench.world import brute_cast, cases
from lidistill.world import primitives as pr
from lidistill.world.ground import Ground
from lidistill.world.scene.scene import Snapshot
from lidistill.world.sensing.caster import GROUND, SKY, STEP, cast
from lidistill.world.sensing.sensors import (
    RayTable,
    kitti_camera,
    kitti_lidar,
    nuscenes_cameras,
    nuscenes_lidar,
)

FLAT = Ground.build([(np.inf, 0, 0.0)], [])


def all_pairs(snapshot: Snapshot, origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """(N,) nearest hit over all primitives, numpy only, one shape at a time; ground left out."""
    best = np.full(len(rays), np.inf)
    for row, kind in zip(snapshot.prim, snapshot.kinds, strict=True):
        c, s = row[6], row[7]
        turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]])
        o, d = turn @ (origin - row[:3]), rays @ turn.T
        t = intersect(kind, row, o, d)
        best = np.minimum(best, t)
    return best


def intersect(kind: int, row: np.ndarray, o: np.ndarray, d: np.ndarray) -> np.ndarray:
    half = row[3:6]
    near, far = np.zeros(len(d)), np.full(len(d), np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind in (pr.BOX, pr.FRUSTUM):
            front, rear, side = row[8:11]
            planes = [
                (np.array([1, 0, front]), half[0] - front * half[2]),
                (np.array([-1, 0, rear]), half[0] - rear * half[2]),
                (np.array([0, 1, side]), half[1] - side * half[2]),
                (np.array([0, -1, side]), half[1] - side * half[2]),
                (np.array([0, 0, 1.0]), half[2]),
                (np.array([0, 0, -1.0]), half[2]),
            ]
            for normal, offset in planes:
                t, speed = (offset - o @ normal) / (d @ normal), d @ normal
                near = np.where(speed < 0, np.maximum(near, t), near)
                far = np.where(speed > 0, np.minimum(far, t), far)
        else:
            axes = {pr.CYLINDER_Z: [0, 1], pr.CYLINDER_Y: [0, 2], pr.ELLIPSOID: [0, 1, 2]}[kind]
            p, q = (o / half)[axes], (d / half)[:, axes]
            a, b, e = (q**2).sum(1), q @ p, p @ p - 1
            root = np.sqrt(b * b - a * e)
            near, far = np.maximum(near, (-b - root) / a), (-b + root) / a
            for axis in set(range(3)) - set(axes):
                t = np.stack(
                    [(-half[axis] - o[axis]) / d[:, axis], (half[axis] - o[axis]) / d[:, axis]]
                )
                near, far = np.maximum(near, t.min(0)), np.minimum(far, t.max(0))
    return np.where((near > 0) & (near <= far), near, np.inf)


TABLES = {
    "lidar nuScenes": (nuscenes_lidar(181).table, (0.94, 0.0, 1.84)),
    "lidar KITTI": (kitti_lidar(97).table, (0.0, 0.0, 1.73)),
    "camera front": (nuscenes_cameras(80)[0].table, (1.7, 0.02, 1.51)),
    "camera back": (nuscenes_cameras(80)[3].table, (0.03, 0.0, 1.58)),
}


@pytest.mark.parametrize("name", TABLES)
def test_equals_brute_force_ray_by_ray(scene, name):
    table, offset = TABLES[name]
    for time in (0.0, 1.7, 3.9):
        snapshot, (x, y, yaw) = scene.snapshot(time), scene.ego.pose(time)
        c, s = math.cos(yaw), math.sin(yaw)
        origin = np.array(
            [x + c * offset[0] - s * offset[1], y + s * offset[0] + c * offset[1], offset[2]]
        )
        distance, surface = cast(snapshot, origin, yaw, table)
        expected, expected_surface = brute_cast(snapshot, origin, yaw, table)
        np.testing.assert_array_equal(distance, expected)
        np.testing.assert_array_equal(surface, expected_surface)


def test_equals_an_independent_numpy_caster(scene):
    snapshot, (x, y, yaw) = scene.snapshot(1.0), scene.ego.pose(1.0)
    lidar = nuscenes_lidar(61)
    origin = np.array([x, y, 1.84])
    distance, surface = cast(snapshot, origin, yaw, lidar.table, with_ego=True)
    c, s = math.cos(yaw), math.sin(yaw)
    rays = lidar.table.rays[..., :3].reshape(-1, 3) @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    expected = all_pairs(snapshot, origin, rays)
    on_object = surface.reshape(-1) >= 0
    np.testing.assert_allclose(distance.reshape(-1)[on_object], expected[on_object], atol=1e-7)
    free = expected[~on_object]
    assert (free >= distance.reshape(-1)[~on_object] - 1e-7).all()  # the ground came first, or sky
    assert on_object.mean() > 0.2


def lone(kind: int, rows: list[list[float]]) -> Snapshot:
    prim = np.array(rows)
    n = len(prim)
    span = np.stack([np.arange(n), np.arange(n) + 1], axis=1)
    zeros = np.zeros(n, np.int32)
    owner = np.arange(n, dtype=np.int32)
    ones = np.ones(n)
    return Snapshot(prim, zeros + kind, zeros, owner, np.ones((n, 3)), ones, span, FLAT)


def fan_of(directions: np.ndarray) -> RayTable:
    directions = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    return RayTable.build(directions)


def test_the_nearer_of_two_objects_hides_the_other():
    rows = [[10.0, 0, 1, 0.5, 0.5, 1, 1, 0, 0, 0, 0], [5.0, 0, 1, 0.5, 0.5, 1, 1, 0, 0, 0, 0]]
    rows.append([0.0, 99, 1, 0.5, 0.5, 1, 1, 0, 0, 0, 0])  # stands for the ego, left out
    table = fan_of(np.array([[[1.0, 0, 0], [1.0, 0, 0.35], [1.0, 0, -0.9]]]))
    distance, surface = cast(lone(pr.BOX, rows), np.array([0.0, 0, 1.5]), 0.0, table)
    assert surface[0].tolist() == [1, SKY, GROUND]
    assert distance[0, 0] == pytest.approx(4.5)


def test_ego_is_seen_only_on_request():
    rows = [[5.0, 0, 1, 0.5, 0.5, 1, 1, 0, 0, 0, 0]]
    table = fan_of(np.array([[[1.0, 0, 0]]]))
    origin = np.array([0.0, 0, 1.5])
    assert cast(lone(pr.BOX, rows), origin, 0.0, table)[1][0, 0] == SKY
    assert cast(lone(pr.BOX, rows), origin, 0.0, table, with_ego=True)[1][0, 0] == 0


def test_columns_across_the_seam_of_the_azimuth():
    rows = [[-8.0, 0.0, 1, 0.6, 0.6, 1, 1, 0, 0, 0, 0], [0.0, 99, 1, 1, 1, 1, 1, 0, 0, 0, 0]]
    angles = np.pi + np.linspace(-0.2, 0.2, 41)
    rays = np.stack([np.cos(angles), np.sin(angles), np.zeros(41)], axis=1)[:, None]
    for yaw in (0.0, 3.0, -3.1):
        turned = rays @ np.array(
            [[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]]
        )
        _, surface = cast(lone(pr.BOX, rows), np.array([0.0, 0, 1.0]), yaw, fan_of(turned))
        hit = surface[:, 0] == 0
        wide = np.abs(np.tan(angles - np.pi)) < 0.6 / 7.4
        np.testing.assert_array_equal(hit, wide)


def test_a_kerbs_face_is_marked_as_a_step():
    ground = Ground.build([(3.0, 0, 0.0), (np.inf, 1, 0.2)], [])
    rows = [[0.0, 99, 1, 1, 1, 1, 1, 0, 0, 0, 0]]
    snapshot = lone(pr.BOX, rows)
    snapshot = Snapshot(*(getattr(snapshot, f) for f in list(snapshot.__dict__)[:-1]), ground)
    table = fan_of(np.array([[[0.0, 3.0, -0.9]]]))
    distance, surface = cast(snapshot, np.array([0.0, 0.0, 1.0]), 0.0, table)
    assert surface[0, 0] == GROUND - 1 - STEP
    assert distance[0, 0] == pytest.approx(math.hypot(3.0, 0.9), abs=1e-3)


def test_casting_is_repeatable(scene, snapshot):
    table = kitti_camera().table
    table = RayTable(table.rays[::9], table.fan[::9])
    first = cast(snapshot, np.array([0.0, -2.0, 1.6]), 0.0, table)
    second = cast(snapshot, np.array([0.0, -2.0, 1.6]), 0.0, table)
    np.testing.assert_array_equal(first[0], second[0])


def test_bench_compares_equal_things():
    for case in cases("quick"):
        expected, ours = case.reference(), case.ours()
        np.testing.assert_array_equal(expected[0], ours[0])
        np.testing.assert_array_equal(expected[1], ours[1])
