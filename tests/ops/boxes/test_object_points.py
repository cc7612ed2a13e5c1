# SPDX-License-Identifier: Apache-2.0
"""Points of many boxes in one pass, beside a loop over boxes and points."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidistill.geometry.frames import invert, make_transform
from lidistill.ops.boxes.object_points import membership, paste_objects, points_by_box


def scene(seed, count=300, boxes=9, kind=np.float32):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-15, 15, (count, 4)).astype(kind)
    points[:, 2] = rng.uniform(-2, 2, count)
    frames = np.array(
        [
            make_transform(rng.normal(size=4), [*rng.uniform(-14, 14, 2), rng.uniform(-1, 1)])
            for _ in range(boxes)
        ]
    )
    return points, invert(frames), rng.uniform(0.2, 6, (boxes, 3))


def naive(points, box_from_sensor, half, margin):
    """Box by box, point by point."""
    found = []
    for matrix, (length, width, height) in zip(box_from_sensor, half, strict=True):
        own = []
        for row, point in enumerate(points):
            x, y, z, _ = matrix @ [*point[:3].astype(np.float64), 1.0]
            inside = abs(x) <= length and abs(y) <= width and -height + margin <= z <= height
            if inside:
                own.append((row, x, y, z))
        found.append(own)
    return found


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3]), st.sampled_from([4, 8]))
def test_as_a_loop(seed, margin, size):
    points, boxes, half = scene(seed, kind=np.dtype(f"f{size}"))
    found = points_by_box(points, boxes, half, margin)
    for box, own in enumerate(naive(points, boxes, half, margin)):
        rows = slice(*found.offsets[box : box + 2])
        np.testing.assert_array_equal(found.rows[rows], [row for row, *_ in own])
        expected = np.array([xyz for _, *xyz in own]).reshape(-1, 3)
        np.testing.assert_allclose(found.xyz[rows], expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(
        membership(found, len(points)).nonzero()[0], np.unique(found.rows)
    )


def test_the_order_of_boxes_and_points_does_not_matter():
    points, boxes, half = scene(3)
    found = points_by_box(points, boxes, half)
    order, shuffle = np.random.default_rng(0).permutation(9), np.random.default_rng(1).permutation
    rows = shuffle(len(points))
    other = points_by_box(points[rows], boxes[order], half[order])
    for place, box in enumerate(order):
        mine = found.rows[slice(*found.offsets[box : box + 2])]
        theirs = rows[other.rows[slice(*other.offsets[place : place + 2])]]
        np.testing.assert_array_equal(np.sort(mine), np.sort(theirs))


def test_faces_are_inside_and_nonsense_holds_nothing():
    points = np.array(
        [[1, 0, 0], [1.0001, 0, 0], [-1, -1, -1], [np.nan, 0, 0], [0, np.inf, 0], [0, 0, np.inf]]
    )
    box = np.eye(4)[None]
    assert points_by_box(points, box, np.ones((1, 3))).rows.tolist() == [0, 2]
    assert points_by_box(points, box, np.array([[1.0, 1.0, 0.0]])).rows.tolist() == [0]
    assert points_by_box(points, box, -np.ones((1, 3))).counts.tolist() == [0]
    broken = np.full((1, 4, 4), np.nan)
    assert points_by_box(points, broken, np.ones((1, 3))).counts.tolist() == [0]
    far = np.eye(4)[None].copy()
    far[0, 0, 3] = 1e9
    both = np.concatenate([box, far])
    assert points_by_box(points, both, np.ones((2, 3))).counts.tolist() == [2, 0]


def test_many_points_in_overlapping_boxes():
    points = np.zeros((900, 3), dtype=np.float32)
    found = points_by_box(points, np.tile(np.eye(4), (12, 1, 1)), np.ones((12, 3)))
    assert found.counts.tolist() == [900] * 12
    assert found.rows[:900].tolist() == list(range(900))


def test_no_boxes_no_points():
    assert points_by_box(
        np.zeros((5, 3)), np.zeros((0, 4, 4)), np.zeros((0, 3))
    ).offsets.tolist() == [0]
    assert points_by_box(np.zeros((0, 3)), np.eye(4)[None], np.ones((1, 3))).counts.tolist() == [0]


def test_another_frame_for_the_points():
    points, boxes, half = scene(5)
    other = boxes.copy()
    other[:, :3, 3] += 10.0
    plain, moved = (
        points_by_box(points, boxes, half),
        points_by_box(points, boxes, half, object_from_sensor=other),
    )
    np.testing.assert_array_equal(plain.rows, moved.rows)
    np.testing.assert_allclose(moved.xyz, plain.xyz + 10.0, atol=1e-12)


def test_pasting_is_the_way_back():
    points, boxes, half = scene(7)
    found = points_by_box(points, boxes, half)
    out = np.zeros((len(found.rows), 4), dtype=np.float32)
    paste_objects(found.xyz, found.offsets[:-1], found.counts, invert(boxes), 1.0, out)
    np.testing.assert_allclose(out[:, :3], points[found.rows, :3], atol=1e-5)


def test_wrong_shapes_are_refused():
    points, boxes, half = scene(0)
    with pytest.raises(ValueError, match="points"):
        points_by_box(points[0], boxes, half)
    with pytest.raises(ValueError, match="box_from_sensor"):
        points_by_box(points, boxes, half[:2])
    with pytest.raises(ValueError, match="object_from_sensor"):
        points_by_box(points, boxes, half, object_from_sensor=boxes[:2])
    with pytest.raises(ValueError, match="room"):
        paste_objects(points, np.zeros(1, int), np.ones(1, int), boxes[:1], 1.0, np.zeros((0, 3)))
