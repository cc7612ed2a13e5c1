# SPDX-License-Identifier: Apache-2.0
"""The order of shared polygons' corners, and mmcv's differentiable overlap on top of it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lidistill.ops.boxes.polygon_order import polygon_order
from lidistill.ops.boxes.rotated_iou import rotated_iou
from lidistill.ops.mmcv import ext

ext.install()


def candidates(places: list[tuple[float, float]], at: list[int], total: int = 24):
    """Candidates (1, 1, 24, 2) with the given ones valid."""
    points, valid = torch.zeros(total, 2), torch.zeros(total, dtype=torch.bool)
    for place, index in zip(places, at, strict=True):
        points[index] = torch.tensor(place)
        valid[index] = True
    return points[None, None], valid[None, None]


def test_counterclockwise_from_the_axis_and_closed() -> None:
    points = [(1.0, 1.0), (-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0)]
    order = polygon_order(*candidates(points, [0, 3, 9, 20]))
    assert order.dtype == torch.int32
    assert order.tolist() == [[[0, 9, 3, 20, 0, 8, 8, 8, 8]]]


def test_corners_that_coincide_count_once() -> None:
    points = [(1.0, 1.0), (-1.0, 1.0), (-1.0, -1.0), (1.0, -1.0)]
    order = polygon_order(*candidates(points * 2, list(range(8))))
    assert order.tolist() == [[[0, 1, 2, 3, 0, 8, 8, 8, 8]]]
    on_axis = [(1.0, 0.0), (1.0, -1e-9), (0.0, 1.0), (-1.0, -1.0)]
    order = polygon_order(*candidates(on_axis, [0, 1, 2, 3]))
    assert order[0, 0, :4].tolist() == [0, 2, 3, 0]


def test_more_candidates_than_slots() -> None:
    turn = [2 * math.pi * k / 8 + 0.1 for k in range(8)]
    points = [(math.cos(angle), math.sin(angle)) for angle in turn]
    order = polygon_order(*candidates(points + points[:3], [*range(8), 8, 9, 10]))
    assert order[0, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0]


@pytest.mark.parametrize("points", [[], [(1.0, 0.0)], [(1.0, 0.0), (-1.0, 0.0)]])
def test_fewer_than_three_are_no_polygon(points) -> None:
    order = polygon_order(*candidates(points, list(range(len(points)))))
    assert order.tolist() == [[[8] * 9]]


def test_no_number_and_no_boxes() -> None:
    points = [(math.nan, 1.0), (-1.0, 1.0), (-1.0, -1.0), (1.0, -1.0)]
    assert polygon_order(*candidates(points, [0, 1, 2, 3])).tolist() == [[[8] * 9]]
    empty = polygon_order(torch.zeros(1, 0, 24, 2), torch.zeros(1, 0, 24, dtype=torch.bool))
    assert empty.shape == (1, 0, 9)
    with pytest.raises(ValueError, match=r"expected candidates .* got \(1, 4, 2\)"):
        polygon_order(torch.zeros(1, 4, 2), torch.zeros(1, 4, dtype=torch.bool))


def box():
    return st.tuples(
        st.floats(-2, 2), st.floats(-2, 2), st.floats(0.5, 4), st.floats(0.5, 4), st.floats(-4, 4)
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(box(), box()), min_size=1, max_size=6))
def test_mmcvs_differentiable_overlap_is_right(pairs) -> None:
    """But for boxes turned alike: crossings of sides on one line lie anywhere in mmcv's Python."""
    assume(all(abs(math.sin(2 * (a[4] - b[4]))) > 1e-3 for a, b in pairs))
    from mmcv.ops import diff_iou_rotated_2d

    first, second = (torch.tensor(side, dtype=torch.float32) for side in zip(*pairs, strict=True))
    found = diff_iou_rotated_2d(first[None], second[None])[0]
    wanted = rotated_iou(first, second, aligned=True)
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-3)


def test_identical_turned_and_inner_boxes() -> None:
    from mmcv.ops import diff_iou_rotated_3d

    box = [0.0, 0, 0, 2, 2, 2, 0]
    others = [box, [*box[:6], math.pi / 2], [0, 0, 0, 1, 1, 2, 0], [2, 0, 0, 2, 2, 2, 0]]
    first = torch.tensor([[box] * 4]).requires_grad_()
    found = diff_iou_rotated_3d(first, torch.tensor([others]))
    assert found.tolist()[0] == pytest.approx([1, 1, 0.25, 0], abs=1e-5)
    found.sum().backward()
    assert first.grad.isfinite().all()
