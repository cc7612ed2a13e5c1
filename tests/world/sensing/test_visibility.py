# SPDX-License-Identifier: Apache-2.0
"""Visible shares against a plain count over all pixels."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from lidistill.world.scene.scene import Snapshot
from lidistill.world.sensing import visibility as vis
from lidistill.world.sensing.caster import cast
from lidistill.world.sensing.render import render
from lidistill.world.sensing.sensors import nuscenes_cameras


def alone(snapshot: Snapshot, k: int) -> Snapshot:
    """The world with object k only (and the ego's body, which cameras do not see)."""
    return dataclasses.replace(snapshot, span=snapshot.span[[k, -1]])


def plain_count(scene, time, objects, camera, surface):
    """Per object: pixels in a picture of it alone, and pixels it has in the real picture."""
    snapshot, (x, y, yaw) = scene.snapshot(time), scene.ego.pose(time)
    c, s = math.cos(yaw), math.sin(yaw)
    offset = camera.ego_from_camera[:3, 3]
    origin = np.array(
        [x + c * offset[0] - s * offset[1], y + s * offset[0] + c * offset[1], offset[2]]
    )
    total, seen = [], []
    for k in objects:
        _, lone = cast(alone(snapshot, k), origin, yaw, camera.table)
        total.append((lone >= 0).sum())
        seen.append(((surface >= 0) & (snapshot.owner[np.maximum(surface, 0)] == k)).sum())
    return np.array(total), np.array(seen)


@pytest.mark.parametrize(("width", "exact"), [(32, True), (160, False)])
def test_counts_equal_pictures_of_each_object_alone(scene, width, exact):
    """Small pictures are counted pixel by pixel, large ones on a grid of samples."""
    time, camera = 1.0, nuscenes_cameras(width)[0]
    ego, snapshot, boxes = scene.ego.pose(time), scene.snapshot(time), scene.boxes(time)
    ahead = (boxes[:, 0] > ego[0] + 5) & (boxes[:, 0] < ego[0] + 40)
    objects = np.array([k for k, t in enumerate(scene.things) if t.boxed and ahead[k]])
    _, surface = render(scene, snapshot, camera, ego, 1)
    total, seen = plain_count(scene, time, objects, camera, surface)
    counted, won = vis.count_visible(snapshot, objects, boxes[objects], camera, ego, surface)
    assert (seen < total).sum() > 5
    assert (seen == total).sum() > 5
    if exact:
        np.testing.assert_array_equal(counted, total)
        np.testing.assert_array_equal(won, seen)
    large = total > 60
    share, expected = won / np.maximum(counted, 1), seen / np.maximum(total, 1)
    np.testing.assert_allclose(share[large], expected[large], atol=0.15)


def test_corners_of_a_box():
    corners = vis.box_corners(np.array([[1.0, 2.0, 3.0, 4.0, 2.0, 6.0, math.pi / 2]]))[0]
    np.testing.assert_allclose(corners.min(axis=0), [0.0, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(corners.max(axis=0), [2.0, 4.0, 6.0], atol=1e-12)


def test_windows_behind_the_camera_are_empty():
    camera = nuscenes_cameras(80)[0]
    boxes = np.array([[-20.0, 0, 1, 4, 2, 2, 0], [20.0, 0, 1, 4, 2, 2, 0]])
    windows, extents, ahead = vis.pixel_windows(boxes, camera, (0.0, 0.0, 0.0))
    assert windows[0, 1] - windows[0, 0] == 0
    assert windows[1, 1] - windows[1, 0] > 5
    assert ahead.tolist() == [False, True]
    # a 2 m wide front at 16.3 m: f 63.3 px, so about 8 px wide
    assert extents[1, 2] - extents[1, 0] == pytest.approx(63.3 * 2 / 16.3, abs=0.5)
