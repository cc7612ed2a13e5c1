# SPDX-License-Identifier: Apache-2.0
"""Camera images, and which object each pixel shows."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from lidistill.world.sensing.caster import GROUND, SKY
from lidistill.world.sensing.render import render
from lidistill.world.sensing.sensors import kitti_camera, nuscenes_cameras

CAMERAS = {camera.name: camera for camera in nuscenes_cameras(200)}


@pytest.fixture(scope="module")
def front(scene):
    return render(scene, scene.snapshot(1.0), CAMERAS["CAM_FRONT"], scene.ego.pose(1.0), 7)


def test_shape_and_range(front):
    image, surface = front
    assert image.shape == (112, 200, 3)
    assert image.dtype == np.uint8
    assert surface.shape == (200, 112)
    assert image.std() > 20  # neither black nor washed out
    assert 40 < image.mean() < 220


def test_sky_is_above_and_ground_below(front):
    _, surface = front
    assert (surface[:, 0] == SKY).mean() > 0.1
    assert (surface[:, -1] <= GROUND).mean() > 0.4
    assert not (surface[:, -10:] == SKY).any()


def test_the_sky_is_brighter_than_the_road(front):
    image, surface = front
    sky = image[(surface == SKY).T].mean()
    assert sky > image[(surface <= GROUND).T].mean()


def test_same_shot_same_picture_other_shot_other_noise(scene):
    camera, snapshot, ego = CAMERAS["CAM_BACK"], scene.snapshot(1.0), scene.ego.pose(1.0)
    a, b, c = (render(scene, snapshot, camera, ego, shot)[0] for shot in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    gap = np.abs(a.astype(int) - c.astype(int))
    assert 0 < gap.mean() < 6


@pytest.mark.parametrize("name", CAMERAS)
def test_pixels_show_what_projects_onto_them(scene, name):
    """Project the hit points of each object's pixels back with the pinhole model."""
    time, camera = 1.0, CAMERAS[name]
    snapshot, (x, y, yaw) = scene.snapshot(time), scene.ego.pose(time)
    _, surface = render(scene, snapshot, camera, (x, y, yaw), 1)
    boxes = scene.boxes(time)
    c, s = math.cos(yaw), math.sin(yaw)
    camera_from_ego = np.linalg.inv(camera.ego_from_camera)
    seen = {int(k) for k in np.unique(snapshot.owner[surface[surface >= 0]])}
    checked = 0
    for k in seen & {k for k, thing in enumerate(scene.things) if thing.boxed}:
        corners = np.array([[i, j, h] for i in (-1, 1) for j in (-1, 1) for h in (-1, 1)]) / 2
        local = corners * boxes[k, 3:6]
        ck, sk = math.cos(boxes[k, 6]), math.sin(boxes[k, 6])
        world = local @ np.array([[ck, sk, 0], [-sk, ck, 0], [0, 0, 1]]) + boxes[k, :3]
        ego = (world - [x, y, 0]) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        cam = ego @ camera_from_ego[:3, :3].T + camera_from_ego[:3, 3]
        if cam[:, 2].min() < 0.5:
            continue
        pixels = cam @ camera.intrinsics.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        u, v = np.nonzero((surface >= 0) & (snapshot.owner[np.maximum(surface, 0)] == k))
        assert u.min() >= pixels[:, 0].min() - 1
        assert u.max() <= pixels[:, 0].max() + 1
        assert v.min() >= pixels[:, 1].min() - 1
        assert v.max() <= pixels[:, 1].max() + 1
        checked += 1
    assert checked >= 2


def test_textures_tell_surfaces_apart(scene):
    """Leaves are busier than sky and road in the picture itself, whatever their colours."""
    energy: dict[str, list[float]] = {"vegetation": [], "sky": [], "road": []}
    for time in (0.0, 2.0, 4.0):
        for camera in nuscenes_cameras(400)[:3]:
            snapshot = scene.snapshot(time)
            image, surface = render(scene, snapshot, camera, scene.ego.pose(time), 3)
            grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float)
            busy = np.abs(cv2.Laplacian(grey, cv2.CV_64F)) / (grey + 20)
            kinds = np.array([thing.kind for thing in scene.things] + ["ego"])
            owner = np.where(surface >= 0, snapshot.owner[np.maximum(surface, 0)], -1).T
            plants = (owner >= 0) & (kinds[owner] == "vegetation")
            masks = {"vegetation": plants, "sky": surface.T == SKY, "road": surface.T == GROUND}
            for name, mask in masks.items():
                inner = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
                if inner.sum() > 80:
                    energy[name].append(busy[inner].mean())
    assert np.mean(energy["vegetation"]) > 1.8 * np.mean(energy["road"])
    assert np.mean(energy["vegetation"]) > 1.8 * np.mean(energy["sky"])


def test_kitti_picture(scene):
    image, _ = render(scene, scene.snapshot(0.0), kitti_camera(), scene.ego.pose(0.0), 1)
    assert image.shape == (375, 1242, 3)
