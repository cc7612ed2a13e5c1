# SPDX-License-Identifier: Apache-2.0
"""Boxes in pictures: where they should be, in the colour that they earn."""

from dataclasses import replace

import numpy as np
import pytest

from lidistill.visualization.detections import frames
from lidistill.visualization.detections.frames import (
    MISSED,
    RIGHT,
    TRUTH,
    WRONG,
    Boxes,
    Frame,
    matched,
    panels_from_above,
    panels_in_cameras,
    regions_from_above,
)

# x right, y forward, as nuScenes' LiDAR frame: one box ahead, one to the right, one behind.
TRUE = np.array(
    [
        [0.0, 20.0, 0, 4.0, 2.0, 1.5, np.pi / 2],
        [20.0, 0, 0, 4, 2, 1.5, 0],
        [0, -25, 0, 4, 2, 1.5, 0],
    ]
)


def boxes_of(rows, labels, scores=None):
    rows = np.asarray(rows, dtype=float).reshape(-1, 7)
    scores = np.ones(len(rows)) if scores is None else np.asarray(scores, dtype=float)
    return Boxes(rows, np.asarray(labels, dtype=int), scores)


def frame_of(found, **views):
    points = np.random.default_rng(0).uniform(-30, 30, (200, 3))
    return Frame(points, boxes_of(TRUE, [0, 0, 1]), found, **views)


NOTHING = boxes_of([], [])
FOUND = boxes_of(
    [TRUE[0] + [0.5, 0.5, 0, 0, 0, 0, 0], TRUE[1], TRUE[0] + [0.2, 0, 0, 0, 0, 0, 0], TRUE[2]],
    [0, 1, 0, 1],
    [0.9, 0.8, 0.5, 0.1],
)


def test_each_true_box_is_found_once_and_by_its_class():
    right, taken = matched(FOUND.surer_than(0.3), boxes_of(TRUE, [0, 0, 1]))
    assert right.tolist() == [True, False, False]  # the third comes too late
    assert taken.tolist() == [True, False, False]
    assert matched(NOTHING, boxes_of(TRUE, [0, 0, 1]))[1].sum() == 0
    assert matched(FOUND, NOTHING)[0].sum() == 0


def painted(panel, colour):
    """(u, v) mean of the pixels near a colour (lines have soft edges); None without any."""
    hit = np.abs(panel.astype(int) - colour).sum(2) < 90
    return None if not hit.any() else np.argwhere(hit).mean(0)[::-1]


@pytest.mark.parametrize(("forward", "ahead"), [("y", (0, 20)), ("x", (20, 0))])
def test_boxes_lie_where_the_picture_of_the_ground_has_them(forward, ahead):
    box = [[*ahead, 0, 4, 4, 1.5, 0]]
    frame = Frame(np.zeros((0, 3)), boxes_of(box, [0]), {"it": boxes_of(box, [0])})
    sheet = panels_from_above(frame, reach=40.0, size=400, forward=forward)
    assert sheet.shape == (426, 800, 3)
    for panel, colour in ((sheet[26:, :400], TRUTH), (sheet[26:, 400:], RIGHT)):
        # 20 m ahead of the middle: up by a quarter of the picture
        above = panel[:160]  # the vehicle in the middle is white, too
        np.testing.assert_allclose(painted(above, colour), (200, 100), atol=6)


def test_colours_tell_right_wrong_and_missed():
    sheet = panels_from_above(frame_of({"student": FOUND, "blind": NOTHING}), size=400)
    assert sheet.shape[1] == 1200
    student, blind = sheet[26:, 400:800], sheet[26:, 800:]
    assert all(painted(student, colour) is not None for colour in (RIGHT, WRONG, MISSED))
    assert painted(blind, RIGHT) is None
    assert painted(blind, MISSED) is not None


def test_boxes_in_cameras_follow_the_matrix():
    # a camera that looks along y: u = x, v = -z, depth = y
    matrix = np.array([[100.0, 50, 0, 0], [0, 40, -100, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    view = np.zeros((80, 100, 3), np.uint8)
    frame = frame_of({"student": FOUND}, views=[view] * 4, image_from_lidar=[matrix] * 4)
    sheet = panels_in_cameras(frame, columns=3)  # three times as large: 640 are more than 600
    assert sheet.shape == (2 * (26 + 3 * 160), 3 * 300, 3)
    alone = replace(frame, views=frame.views[:1], image_from_lidar=frame.image_from_lidar[:1])
    assert panels_in_cameras(alone).shape == (2 * (26 + 7 * 80), 700, 3)  # nothing dark beside it
    np.testing.assert_allclose(painted(sheet[26:266, :300], TRUTH), (150, 120), atol=12)
    assert not sheet[266:506, 300:].any()  # no fifth camera
    wide = [np.zeros((80, 640, 3), np.uint8)]
    assert panels_in_cameras(replace(alone, views=wide)).shape[1] == 640
    assert not view.any()  # the frame's own images stay as they are
    with pytest.raises(ValueError, match="LoadCameras"):
        panels_in_cameras(frame_of({}))


def test_regions_share_one_scale():
    values = {"before": np.array([1.0, 3.0, 2.0]), "after": np.array([0.0, 0.5, 0.2])}
    sheet = regions_from_above(frame_of({}), values, size=400)
    assert sheet.shape == (426, 800, 3)
    reddest = sheet.astype(int)[26:, :, 0] - sheet.astype(int)[26:, :, 2]
    assert reddest[:, :400].max() > reddest[:, 400:].max()
    empty = Frame(np.zeros((0, 3)), NOTHING, {})
    assert regions_from_above(empty, {"before": np.zeros(0)}, size=100).shape == (126, 100, 3)


def test_no_boxes_at_all():
    frame = Frame(np.zeros((0, 3)), NOTHING, {"student": NOTHING})
    assert panels_from_above(frame, size=64).shape == (90, 128, 3)
    assert frames.panels_from_above(frame, size=64)[26:].max() > 0
