# SPDX-License-Identifier: Apache-2.0
"""Points in boxes against a loop in mmcv's rounding, on both paths."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lidistill.ops.boxes import points_in_boxes
from lidistill.ops.boxes.points_in_boxes import first_box_of_points
from tests.ops.op_cases import bottom_boxes, points_near_boxes


def naive_inside(point: np.ndarray, box: np.ndarray) -> bool:
    """Height with its faces, length and width without; float32 coordinates as in mmcv."""
    single = np.float32
    half = box[3:6].astype(np.float64) / 2
    if abs(point[2] - single(np.float64(box[2]) + half[2])) > half[2]:
        return False
    cos, sin = single(math.cos(-box[6])), single(math.sin(-box[6]))
    x, y = point[0] - box[0], point[1] - box[1]
    return bool(abs(x * cos + y * -sin) < half[0] and abs(x * sin + y * cos) < half[1])


def torch_path(points: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """The path of other devices, taken on the CPU."""
    return points_in_boxes._inside_boxes_torch(points, boxes)


@pytest.mark.parametrize("path", [points_in_boxes.points_in_boxes, torch_path])
def test_equals_loop(path) -> None:
    boxes = bottom_boxes(14, 1)
    points = points_near_boxes(boxes, 300)
    expected = [[naive_inside(point, box) for point in points.numpy()] for box in boxes.numpy()]
    assert path(points, boxes).tolist() == expected


@pytest.mark.parametrize(
    ("point", "inside"),
    [
        ((0, 0, 0), True),  # bottom face
        ((0, 0, 2), True),  # top face
        ((0, 0, 2.001), False),
        ((1, 0, 1), False),  # front face
        ((0.999, 0, 1), True),
        ((0, -1, 1), False),  # side face
        ((float("nan"), 0, 1), False),
    ],
)
def test_faces(point, inside) -> None:
    box = torch.tensor([[0.0, 0, 0, 2, 2, 2, 0]])
    assert points_in_boxes.points_in_boxes(torch.tensor([point]).float(), box).item() is inside
    assert torch_path(torch.tensor([point]).float(), box).item() is inside


def test_turned_box_is_longer_along_y() -> None:
    box = torch.tensor([[0.0, 0, 0, 4, 1, 2, math.pi / 2]])
    points = torch.tensor([[0.0, 1.9, 1], [1.9, 0, 1]])
    assert points_in_boxes.points_in_boxes(points, box).tolist() == [[True, False]]


def test_first_box_equals_loop() -> None:
    boxes = bottom_boxes(14, 1)
    boxes = torch.cat([boxes, boxes.flip(0)])  # each stands twice: the first counts
    points = points_near_boxes(boxes, 300)
    inside = points_in_boxes.points_in_boxes(points, boxes)
    expected = [next((b for b in range(28) if inside[b, n]), -1) for n in range(len(points))]
    assert -1 in expected
    assert max(expected) < 14
    assert first_box_of_points(points, boxes).tolist() == expected


def test_first_box_wins() -> None:
    boxes = torch.tensor([[9.0, 9, 0, 1, 1, 1, 0], [0, 0, 0, 2, 2, 2, 0], [0, 0, 0, 4, 4, 4, 0]])
    points = torch.tensor([[0.0, 0, 1], [1.5, 0, 1], [5, 5, 5]])
    assert first_box_of_points(points, boxes).tolist() == [1, 2, -1]


def test_more_columns_are_ignored_and_empty_works() -> None:
    boxes = bottom_boxes(5, 2)
    points = points_near_boxes(boxes, 50)
    wide = points_in_boxes.points_in_boxes(
        torch.cat([points, points], 1), torch.cat([boxes, boxes], 1)
    )
    assert torch.equal(wide, points_in_boxes.points_in_boxes(points, boxes))
    assert points_in_boxes.points_in_boxes(points[:0], boxes).shape == (5, 0)
    assert points_in_boxes.points_in_boxes(points, boxes[:0]).shape == (0, 50)
    assert first_box_of_points(points, boxes[:0]).tolist() == [-1] * 50
    assert first_box_of_points(points[:0], boxes).shape == (0,)


def test_message() -> None:
    with pytest.raises(ValueError, match=r"boxes \(M, 7\+\)"):
        points_in_boxes.points_in_boxes(torch.zeros(2, 3), torch.zeros(2, 6))
