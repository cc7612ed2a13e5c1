# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch

from lidistill.geometry.box_points import along_trajectory, enlarged, lattice_points, nine_points
from lidistill.geometry.boxes import boxes_to_corners

BOXES = torch.tensor(
    [
        [10.0, -3.0, 0.0, 4.0, 2.0, 1.5, 0.5, 3.0, 4.0],
        [-25.0, 8.0, 0.0, 1.0, 0.5, 1.5, -2.0, 0.0, 0.0],
        [0.0, 40.0, 0.0, 12.0, 3.0, 3.0, math.pi, float("nan"), float("nan")],
    ]
)


def placed(box, along, across):
    """By the book: metres along and across a box, turned and moved."""
    x, y, yaw = float(box[0]), float(box[1]), float(box[6])
    return (
        x + math.cos(yaw) * along - math.sin(yaw) * across,
        y + math.sin(yaw) * along + math.cos(yaw) * across,
    )


def test_nine_points_are_corners_centre_and_midpoints():
    found = nine_points(BOXES)
    assert found.shape == (3, 9, 2)
    corners = torch.from_numpy(boxes_to_corners(BOXES.numpy())[:, :4, :2]).float()
    for one, known in zip(found, corners, strict=True):
        gaps = torch.cdist(one[:4], known)
        assert gaps.amin(1).max() < 1e-5
        assert sorted(gaps.argmin(1).tolist()) == [0, 1, 2, 3]
        torch.testing.assert_close(one[4], known.mean(0), rtol=1e-5, atol=1e-5)
        pairs = ((0, 1), (1, 2), (2, 3), (0, 3))
        middles = torch.stack([(one[i] + one[j]) / 2 for i, j in pairs])
        torch.testing.assert_close(one[5:], middles, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [1, 3, 4])
def test_lattice_points_are_centres_of_equal_parts(count):
    found = lattice_points(BOXES, count)
    for box, points in zip(BOXES, found, strict=True):
        expected = [
            placed(
                box,
                ((i + 0.5) / count - 0.5) * float(box[3]),
                ((j + 0.5) / count - 0.5) * float(box[4]),
            )
            for i in range(count)
            for j in range(count)
        ]
        np.testing.assert_allclose(points, expected, rtol=1e-5, atol=1e-5)


def test_far_and_fast_boxes_grow():
    found = enlarged(BOXES, 2.0, by_range=((20, 1.25), (30, 1.5)), per_speed=0.1)
    torch.testing.assert_close(found[:, 3], torch.tensor([8.0 + 0.5, 2.5, 36.0]))
    torch.testing.assert_close(found[:, 4], torch.tensor([4.0 + 0.5, 1.25, 9.0]))
    kept = [0, 1, 2, 5, 6]
    torch.testing.assert_close(found[:, kept], BOXES[:, kept])


def test_trajectory_moves_by_velocity_and_no_number_stands_still():
    found = along_trajectory(BOXES, (-0.5, 0.0, 1.0))
    assert found.shape == (9, 9)
    torch.testing.assert_close(found[0, :2], torch.tensor([8.5, -5.0]))
    torch.testing.assert_close(found[6, :2], torch.tensor([13.0, 1.0]))
    torch.testing.assert_close(found[2::3, :2], BOXES[2, :2].expand(3, 2))
    assert along_trajectory(BOXES, ()).shape == (0, 9)


@pytest.mark.parametrize("points", [nine_points, lambda boxes: lattice_points(boxes, 5)])
def test_no_boxes_no_points(points):
    assert points(BOXES[:0]).shape[0] == 0
    assert enlarged(BOXES[:0], 2.0, ((20, 2.0),)).shape == (0, 9)


def test_errors_say_what_is_missing():
    with pytest.raises(ValueError, match="needs velocities"):
        along_trajectory(BOXES[:, :7], (1.0,))
    with pytest.raises(ValueError, match="needs velocities"):
        enlarged(BOXES[:, :7], per_speed=1.0)
    with pytest.raises(ValueError, match="at least one point"):
        lattice_points(BOXES, 0)
