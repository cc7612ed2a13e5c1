# SPDX-License-Identifier: Apache-2.0
"""Scenes: motion, boxes, and that nothing ever collides."""

from __future__ import annotations

import math

import numpy as np
import pytest
from shapely.geometry import Polygon

from lidistill.world.catalog import KINDS
from lidistill.world.layouts.kitti import PROFILE
from lidistill.world.materials import INDEX
from lidistill.world.scene.compose import compose
from lidistill.world.scene.people import pedestrian
from lidistill.world.scene.scene import EgoPath, Thing
from lidistill.world.scene.site import Profile
from lidistill.world.sensing.visibility import box_corners


def test_straight_and_curved_motion_equal_small_steps():
    plan = pedestrian(np.random.default_rng(0))
    for turn in (0.0, 0.4, -0.7):
        thing = Thing(plan, 1.0, -2.0, 0.3, speed=4.0, turn=turn)
        x, y, yaw, dt = 1.0, -2.0, 0.3, 1e-4
        for _ in range(20_000):
            x, y = (
                x + 4.0 * dt * math.cos(yaw + turn * dt / 2),
                y + 4.0 * dt * math.sin(yaw + turn * dt / 2),
            )
            yaw += turn * dt
        np.testing.assert_allclose(thing.pose(2.0), (x, y, yaw), atol=1e-5)


def test_parked_things_stay():
    thing = Thing(pedestrian(np.random.default_rng(0)), 1.0, 2.0, 3.0)
    assert thing.pose(0.0) == thing.pose(9.0) == (1.0, 2.0, 3.0)


def test_ego_heads_along_its_path():
    ego = EgoPath(7.0, -2.0, 0.2, 0.5, 1.0)
    for time in (-0.4, 0.0, 3.3):
        x, y, yaw = ego.pose(time)
        x1, y1, _ = ego.pose(time + 1e-6)
        assert yaw == pytest.approx(math.atan2(y1 - y, x1 - x), abs=1e-5)
    assert ego.pose(2.0)[0] == pytest.approx(14.0)


def test_snapshot_places_primitives_by_the_pose(scene):
    time = 2.2
    snapshot, poses = scene.snapshot(time), scene.poses(time)
    for k, thing in enumerate(scene.things):
        first, last = snapshot.span[k]
        assert (snapshot.owner[first:last] == k).all()
        x, y, z, yaw = poses[k]
        for row, local in zip(snapshot.prim[first:last], thing.plan.prim, strict=True):
            assert row[0] == pytest.approx(x + math.cos(yaw) * local[0] - math.sin(yaw) * local[1])
            assert row[1] == pytest.approx(y + math.sin(yaw) * local[0] + math.cos(yaw) * local[1])
            assert row[2] == pytest.approx(z + local[2])
            angle = math.atan2(row[7], row[6]) - yaw - math.atan2(local[7], local[6])
            assert math.cos(angle) == pytest.approx(1.0)


def test_the_ego_body_moves_with_the_ego(scene):
    for time in (0.0, 3.0):
        body = scene.snapshot(time).prim[scene.snapshot(time).span[-1, 0]]
        x, y, yaw = scene.ego.pose(time)
        assert body[0] == pytest.approx(x + 0.95 * math.cos(yaw))
        assert body[1] == pytest.approx(y + 0.95 * math.sin(yaw))


def test_boxes_stand_clear_of_the_ground(scene):
    for time in (0.0, 1.3, 3.7):
        boxes = scene.boxes(time)
        bottom = boxes[:, 2] - boxes[:, 5] / 2
        corners = box_corners(boxes)
        for k, thing in enumerate(scene.things):
            if thing.boxed:
                for x, y, _ in corners[k]:
                    assert bottom[k] >= scene.ground.height(x, y) + 0.025


@pytest.mark.parametrize("profile", [Profile(), PROFILE], ids=["nuscenes", "kitti"])
@pytest.mark.parametrize("seed", [2, 29, 36, 37])  # in the first three, walkers once brushed past
def test_annotated_boxes_never_meet(profile, seed):
    scene = compose("collisions", (seed, seed), 9.5, profile)
    boxed = np.array([k for k, thing in enumerate(scene.things) if thing.boxed])
    for time in np.arange(0.0, 9.6, 0.5):
        boxes = scene.boxes(time)[boxed]
        shapes = [Polygon(c[[0, 2, 6, 4], :2]) for c in box_corners(boxes)]
        reach = np.hypot(boxes[:, 3], boxes[:, 4]) / 2
        gap = np.linalg.norm(boxes[:, None, :2] - boxes[None, :, :2], axis=2)
        close = np.argwhere(np.triu(gap < reach[:, None] + reach[None, :], 1))
        met = [(i, j) for i, j in close if shapes[i].intersects(shapes[j])]
        assert [(scene.things[boxed[i]].kind, scene.things[boxed[j]].kind) for i, j in met] == []


def test_the_ego_keeps_clear(scene):
    for time in np.linspace(-0.5, 4.0, 10):
        x, y, yaw = scene.ego.pose(time)
        own = Polygon(box_corners(np.array([[x, y, 1, 4.9, 2.0, 2, yaw]]))[0, [0, 2, 6, 4], :2])
        for thing, corners in zip(scene.things, box_corners(scene.boxes(time)), strict=True):
            if thing.boxed and abs(corners[0, 0] - x) < 20:
                assert own.distance(Polygon(corners[[0, 2, 6, 4], :2])) > 0.2


def test_every_detection_class_stands_near_the_path():
    for seed in range(4):
        scene = compose("classes", (seed, 2), 1.0, Profile())
        boxes = scene.boxes(0.5)
        near = np.hypot(boxes[:, 0] - scene.ego.pose(0.5)[0], boxes[:, 1]) < 45
        found = {
            KINDS[t.kind].detection for t, close in zip(scene.things, near, strict=True) if close
        }
        assert len(found - {None}) == 10


def test_between_a_third_and_two_thirds_of_the_vehicles_are_parked():
    parked = moving = 0
    for seed in range(4):
        for thing in compose("share", (seed, 3), 4.0, Profile()).things:
            if KINDS[thing.kind].detection in ("car", "truck", "bus", "trailer"):
                parked += thing.speed == 0
                moving += thing.speed != 0
    assert 0.33 < parked / (parked + moving) < 0.72


def test_all_ground_classes_and_many_layouts_occur():
    found, lanes, medians = set(), set(), set()
    for seed in range(8):
        scene = compose("ground", (seed, 4), 2.0, Profile())
        bands = scene.ground.bands
        found |= {int(v) for v in bands[..., 0].reshape(-1)}
        lanes.add(len(scene.marks))
        medians.add(tuple(scene.ground.levels.round(3)))
    assert {INDEX[n] for n in ("road", "sidewalk", "kerb", "grass", "gravel")} <= found
    assert len(lanes) > 2
    assert len(medians) == 8  # kerb heights differ from scene to scene


def test_same_seed_same_scene_other_seed_other_scene():
    a, b, c = (compose("x", (seed, 1), 2.0, Profile()) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a.snapshot(1.0).prim, b.snapshot(1.0).prim)
    assert a.snapshot(1.0).prim.shape != c.snapshot(1.0).prim.shape or not np.allclose(
        a.snapshot(1.0).prim, c.snapshot(1.0).prim
    )


def test_light_varies():
    lights = [compose("light", (seed, 6), 1.0, Profile()).light for seed in range(8)]
    assert np.std([light.exposure for light in lights]) > 0.05
    assert len({round(light.sun[0], 3) for light in lights}) == 8
    for light in lights:
        assert np.linalg.norm(light.sun) == pytest.approx(1.0)
        assert 0.3 < light.ambient < 0.75
