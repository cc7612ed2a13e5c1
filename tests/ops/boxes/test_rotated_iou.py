# SPDX-License-Identifier: Apache-2.0
"""Rotated overlap against a count of fine samples and against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lidistill.ops.boxes.rotated_iou import bev_rectangles, rotated_iou, rotated_overlap
from tests.ops.op_cases import rotated_boxes


def naive_overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Integrate the length of horizontal chords of both rectangles: 20,000 scan lines."""
    corners = []
    for x, y, w, h, angle in (first, second):
        cos, sin = math.cos(angle), math.sin(angle)
        local = [(w / 2, h / 2), (-w / 2, h / 2), (-w / 2, -h / 2), (w / 2, -h / 2)]
        corners.append([(x + cos * a - sin * b, y + sin * a + cos * b) for a, b in local])
    low = max(min(y for _, y in polygon) for polygon in corners)
    high = min(max(y for _, y in polygon) for polygon in corners)
    if high <= low:
        return 0.0
    lines = low + (np.arange(20000) + 0.5) / 20000 * (high - low)
    left = np.full(lines.shape, -np.inf)
    right = np.full(lines.shape, np.inf)
    for polygon in corners:
        start, end = np.full(lines.shape, np.inf), np.full(lines.shape, -np.inf)
        for (ax, ay), (bx, by) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            crosses = (min(ay, by) <= lines) & (lines <= max(ay, by)) & (ay != by)
            at = ax + (lines - ay) / ((by - ay) or 1.0) * (bx - ax)
            start = np.where(crosses, np.minimum(start, at), start)
            end = np.where(crosses, np.maximum(end, at), end)
        left, right = np.maximum(left, start), np.minimum(right, end)
    return float(np.clip(right - left, 0, None).mean() * (high - low))


def test_overlap_equals_scan_lines() -> None:
    boxes1, boxes2 = rotated_boxes(24, 1), rotated_boxes(24, 2)
    overlap = rotated_overlap(boxes1, boxes2).numpy()
    for i, first in enumerate(boxes1.double().numpy()):
        for j, second in enumerate(boxes2.double().numpy()):
            assert overlap[i, j] == pytest.approx(naive_overlap(first, second), abs=2e-3)


@pytest.mark.parametrize(
    ("first", "second", "iou"),
    [
        ([0, 0, 2, 2, 0.0], [0, 0, 2, 2, 0.0], 1.0),  # identical
        ([0, 0, 2, 2, 0.0], [2, 0, 2, 2, 0.0], 0.0),  # shared side
        ([0, 0, 2, 2, 0.0], [2, 2, 2, 2, 0.0], 0.0),  # shared corner
        ([0, 0, 2, 2, 0.0], [1, 0, 2, 2, 0.0], 1 / 3),
        ([0, 0, 4, 4, 0.3], [0, 0, 2, 2, 0.3], 1 / 4),  # contained
        ([0, 0, 4, 2, 0.0], [0, 0, 2, 4, math.pi / 2], 1.0),  # the same, written differently
        ([0, 0, 4, 2, 0.7], [0, 0, 4, 2, 0.7 + math.pi], 1.0),
        ([0, 0, 2, 2, 0.0], [0, 0, 2, 2, math.pi / 4], 2**0.5 / 2),  # octagon 8(sqrt2 - 1)
        ([0, 0, 9, 1e-3, 1.0], [0, 0, 9, 1e-3, 1.0], 1.0),  # a needle; float32 finds 0.9998
        ([0, 0, 0, 2, 0.0], [0, 0, 2, 2, 0.0], 0.0),  # no area
        ([0, 0, -2, 2, 0.0], [0, 0, 2, 2, 0.0], 0.0),  # negative area
        ([1e6, 1e6, 2, 2, 0.1], [1e6, 1e6, 2, 2, 0.1], 1.0),
    ],
)
def test_closed_forms(first, second, iou) -> None:
    boxes1, boxes2 = (torch.tensor([box], dtype=torch.float64) for box in (first, second))
    found = rotated_iou(boxes1, boxes2)
    assert found.item() == pytest.approx(iou, abs=1e-12)


def test_identical_boxes_have_iou_one() -> None:
    boxes = rotated_boxes(500, 7)
    boxes = boxes[boxes[:, 2] * boxes[:, 3] > 1e-6]
    found = rotated_iou(boxes, boxes, aligned=True)
    torch.testing.assert_close(found, torch.ones(len(boxes)), rtol=0, atol=1e-6)


def test_iof_divides_by_the_first_area() -> None:
    big, small = torch.tensor([[0, 0, 4, 4, 0.2]]), torch.tensor([[0, 0, 2, 2, 0.2]])
    assert rotated_iou(small, big, mode="iof").item() == pytest.approx(1)
    assert rotated_iou(big, small, mode="iof").item() == pytest.approx(1 / 4)


def test_aligned_is_the_diagonal_and_order_does_not_matter() -> None:
    boxes1, boxes2 = rotated_boxes(40, 1), rotated_boxes(40, 2)
    pairs = rotated_iou(boxes1, boxes2)
    torch.testing.assert_close(rotated_iou(boxes1, boxes2, aligned=True), pairs.diagonal())
    torch.testing.assert_close(rotated_iou(boxes2, boxes1), pairs.t(), rtol=0, atol=1e-6)


def test_turning_and_moving_both_changes_nothing() -> None:
    boxes1, boxes2 = rotated_boxes(30, 1).double()[12:], rotated_boxes(30, 2).double()[12:]
    before = rotated_iou(boxes1, boxes2)
    turn, moved = 0.83, []
    for boxes in (boxes1, boxes2):
        x, y = boxes[:, 0], boxes[:, 1]
        new = boxes.clone()
        new[:, 0] = math.cos(turn) * x - math.sin(turn) * y + 11
        new[:, 1] = math.sin(turn) * x + math.cos(turn) * y - 5
        new[:, 4] += turn
        moved.append(new)
    torch.testing.assert_close(rotated_iou(*moved), before, rtol=0, atol=1e-12)


def test_empty_sides() -> None:
    none, some = torch.zeros(0, 5), rotated_boxes(3, 0)
    assert rotated_iou(none, some).shape == (0, 3)
    assert rotated_iou(some, none).shape == (3, 0)
    assert rotated_iou(none, none, aligned=True).shape == (0,)


def test_footprints_take_the_right_columns() -> None:
    box = torch.tensor([[1.0, 2, 3, 4, 5, 6, 7, 8, 9]])
    assert bev_rectangles(box).tolist() == [[1, 2, 4, 5, 7]]


def test_messages() -> None:
    boxes = rotated_boxes(2, 0)
    with pytest.raises(ValueError, match="expected mode in"):
        rotated_iou(boxes, boxes, mode="giou")
    with pytest.raises(ValueError, match=r"boxes2 \(N, 5\)"):
        rotated_iou(boxes, boxes[:, :4])
    with pytest.raises(ValueError, match="as many boxes on both sides"):
        rotated_iou(boxes, boxes[:1], aligned=True)
