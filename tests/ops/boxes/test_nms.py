# SPDX-License-Identifier: Apache-2.0
"""Suppression against plain loops over a matrix of overlaps."""

from __future__ import annotations

import math

import pytest
import torch

from lidistill.ops.boxes import nms
from lidistill.ops.boxes.rotated_iou import rotated_iou
from tests.ops.op_cases import rotated_boxes, scores_with_ties, upright_boxes


def box_iou(first: list[float], second: list[float], offset: float = 0.0) -> float:
    width = max(0.0, min(first[2], second[2]) - max(first[0], second[0]) + offset)
    height = max(0.0, min(first[3], second[3]) - max(first[1], second[1]) + offset)
    areas = [(b[2] - b[0] + offset) * (b[3] - b[1] + offset) for b in (first, second)]
    union = sum(areas) - width * height
    return width * height / union if union else math.nan


def naive_nms(count: int, scores: torch.Tensor, drops) -> list[int]:
    """Keep the best, drop what ``drops(kept, other)`` says, repeat."""
    left = scores.sort(descending=True)[1].tolist()
    assert len(left) == count
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [row for row in left if not drops(best, row)]
    return kept


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7])
def test_nms_equals_loop(threshold, offset) -> None:
    boxes, scores = upright_boxes(80, 1), scores_with_ties(80, 1)
    table = boxes.tolist()
    expected = naive_nms(80, scores, lambda i, j: box_iou(table[i], table[j], offset) > threshold)
    assert nms.nms(boxes, scores, threshold, offset).tolist() == expected


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.6])
def test_nms_rotated_equals_loop(threshold) -> None:
    boxes, scores = rotated_boxes(80, 2), scores_with_ties(80, 2)
    overlaps = rotated_iou(boxes, boxes)
    expected = naive_nms(80, scores, lambda i, j: overlaps[i, j] >= threshold)
    assert nms.nms_rotated(boxes, scores, threshold).tolist() == expected


def test_threshold_itself_drops_rotated_boxes_only() -> None:
    third = 1 / 3  # two of three unit cells shared
    upright = torch.tensor([[0.0, 0, 2, 1], [1, 0, 3, 1]])
    rotated = torch.tensor([[1.0, 0.5, 2, 1, 0], [2, 0.5, 2, 1, 0]])
    scores = torch.tensor([0.9, 0.8])
    assert nms.nms(upright, scores, third).tolist() == [0, 1]
    assert nms.nms_rotated(rotated, scores, third).tolist() == [0]
    assert nms.nms_sorted_bev(rotated, third).tolist() == [0, 1]


def test_identical_boxes_leave_one() -> None:
    boxes = rotated_boxes(13, 3)[12:].repeat(20, 1)
    assert nms.nms_rotated(boxes, torch.arange(20.0), 0.9).tolist() == [19]
    assert nms.nms_sorted_bev(boxes, 0.9).tolist() == [0]


@pytest.mark.parametrize("rotated", [True, False])
def test_nms_sorted_bev_equals_loop(rotated) -> None:
    boxes = rotated_boxes(60, 4)
    compared = boxes.clone()
    if not rotated:
        compared[:, 4] = 0
    overlaps = rotated_iou(compared, compared)
    expected = naive_nms(60, torch.arange(60.0).flip(0), lambda i, j: overlaps[i, j] > 0.25)
    assert nms.nms_sorted_bev(boxes, 0.25, rotated).tolist() == expected


def test_nms_match_groups_what_is_dropped() -> None:
    boxes, scores = upright_boxes(50, 5), scores_with_ties(50, 5)
    table = boxes.tolist()
    groups = nms.nms_match(boxes, scores, 0.4)
    assert sorted(row for group in groups for row in group) == list(range(50))
    kept = naive_nms(50, scores, lambda i, j: box_iou(table[i], table[j]) >= 0.4)
    assert [group[0] for group in groups] == kept
    for group in groups:
        assert all(box_iou(table[group[0]], table[row]) >= 0.4 for row in group[1:])


@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
def test_soft_nms_equals_loop(method) -> None:
    boxes = upright_boxes(40, 6)
    scores = torch.rand(40, generator=torch.Generator().manual_seed(0))
    left = {row: scores[row].item() for row in range(40)}
    table, expected = boxes.tolist(), []
    while left:
        best = max(left, key=lambda row: left[row])
        expected.append((best, left.pop(best)))
        for row in list(left):
            overlap = box_iou(table[best], table[row])
            if method == "gaussian" and not math.isnan(overlap):
                left[row] *= math.exp(-overlap * overlap / 0.5)
            elif method != "gaussian" and overlap >= 0.3:
                left[row] *= 0.0 if method == "naive" else 1 - overlap
            if left[row] < 0.05:
                del left[row]
    found, rows = nms.soft_nms(boxes, scores, 0.3, 0.5, 0.05, method)
    if method == "gaussian":  # boxes without area: 0 / 0 makes their scores NaN, in mmcv as well
        real = ~found[:, 4].isnan()
        found, rows = found[real], rows[real]
        expected = [pair for pair in expected if pair[0] in rows.tolist()]
    assert rows.tolist() == [row for row, _ in expected]
    assert found[:, 4].tolist() == pytest.approx([score for _, score in expected], abs=1e-6)
    assert torch.equal(found[:, :4], boxes[rows])


def test_scores_order_the_result() -> None:
    boxes, scores = upright_boxes(80, 7), scores_with_ties(80, 7)
    kept = nms.nms(boxes, scores, 0.5)
    assert (scores[kept].diff() <= 0).all()


def test_inputs_stay_as_they_were() -> None:
    boxes, scores = upright_boxes(30, 8), scores_with_ties(30, 8)
    copies = boxes.clone(), scores.clone()
    nms.soft_nms(boxes, scores)
    nms.nms(boxes, scores, 0.5)
    rectangles = rotated_boxes(30, 8)
    before = rectangles.clone()
    nms.nms_sorted_bev(rectangles.double(), 0.5, rotated=False)
    assert torch.equal(boxes, copies[0])
    assert torch.equal(scores, copies[1])
    assert torch.equal(rectangles, before)


def test_no_boxes() -> None:
    none = torch.zeros(0)
    assert nms.nms(torch.zeros(0, 4), none, 0.5).shape == (0,)
    assert nms.nms_rotated(torch.zeros(0, 5), none, 0.5).shape == (0,)
    assert nms.nms_sorted_bev(torch.zeros(0, 5), 0.5).shape == (0,)
    assert nms.soft_nms(torch.zeros(0, 4), none)[0].shape == (0, 5)
    assert nms.nms_match(torch.zeros(0, 4), none, 0.5) == []


def test_messages() -> None:
    with pytest.raises(ValueError, match=r"boxes \(N, 5\+\)"):
        nms.nms_rotated(torch.zeros(2, 4), torch.zeros(2), 0.5)
    with pytest.raises(ValueError, match=r"scores \(N,\)"):
        nms.nms(torch.zeros(2, 4), torch.zeros(3), 0.5)
    with pytest.raises(ValueError, match="expected method in"):
        nms.soft_nms(torch.zeros(2, 4), torch.zeros(2), method="hard")
    with pytest.raises(ValueError, match=r"rectangles \(N, 5\)"):
        nms.nms_sorted_bev(torch.zeros(2, 7), 0.5)
