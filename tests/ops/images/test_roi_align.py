# SPDX-License-Identifier: Apache-2.0
"""RoIAlign beside loops over bins and positions, in double precision."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lidistill.ops.images import roi_align as roi
from lidistill.ops.mmcv import ext

ext.install()
BINS = (2, 3)


def read(plane, y: float, x: float) -> float:
    """One bilinear read of (H, W), the border kept for a pixel."""
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    below, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    upper = plane[top, left] * (1 - dx) + plane[top, right] * dx
    lower = plane[below, left] * (1 - dx) + plane[below, right] * dx
    return upper * (1 - dy) + lower * dy


def loops(maps, box, scale: float, ratio: int, aligned: bool, reduce=None):
    """(C, P, Q) of one RoI: 5 numbers upright, 6 rotated."""
    out = torch.zeros(maps.shape[1], *BINS, dtype=maps.dtype)
    shift = 0.5 if aligned else 0.0
    image = int(box[0])
    if len(box) == 5:
        x1, y1, x2, y2 = (value * scale - shift for value in box[1:])
        size, centre, angle = [y2 - y1, x2 - x1], [(y1 + y2) / 2, (x1 + x2) / 2], 0.0
    else:
        centre = [box[2] * scale - shift, box[1] * scale - shift]
        size, angle = [box[4] * scale, box[3] * scale], box[5]
    if not aligned:
        grown = [max(side, 1.0) for side in size]
        if len(box) == 5:  # grows away from the first corner
            centre = [c + (g - s) / 2 for c, g, s in zip(centre, grown, size, strict=True)]
        size = grown
    grid = [ratio or math.ceil(side / n) for side, n in zip(size, BINS, strict=True)]
    for p in range(BINS[0]):
        for q in range(BINS[1]):
            for c in range(maps.shape[1]):
                values = []
                for i in range(grid[0]):
                    for j in range(grid[1]):
                        v = -size[0] / 2 + (p + (i + 0.5) / grid[0]) * size[0] / BINS[0]
                        u = -size[1] / 2 + (q + (j + 0.5) / grid[1]) * size[1] / BINS[1]
                        y = v * math.cos(angle) - u * math.sin(angle) + centre[0]
                        x = v * math.sin(angle) + u * math.cos(angle) + centre[1]
                        values.append(read(maps[image, c], y, x))
                if values:
                    stack = torch.stack([torch.as_tensor(v, dtype=maps.dtype) for v in values])
                    out[c, p, q] = stack.amax() if reduce == "max" else stack.mean()
    return out


def some_maps(requires_grad: bool = False) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 2, 6, 9, generator=generator, dtype=torch.float64)
    return maps.requires_grad_(requires_grad)


UPRIGHT = [
    [0, 1.0, 2.0, 14.0, 9.0],
    [1, -6.0, -6.0, 30.0, 20.0],  # larger than the map
    [0, 3.0, 3.0, 3.0, 3.0],  # no area
    [1, 16.0, 2.0, 40.0, 9.0],  # over the right border
    [1, 100.0, 100.0, 110.0, 120.0],  # outside
]
ROTATED = [
    [0, 8.0, 6.0, 6.0, 4.0, 0.4],
    [1, 8.0, 6.0, 12.0, 3.0, -2.0],
    [0, 0.0, 0.0, 9.0, 9.0, math.pi / 4],
    [1, 5.0, 5.0, 0.0, 4.0, 0.3],  # no width
]


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
def test_upright_values_and_gradients(aligned, ratio) -> None:
    from mmcv.ops import roi_align

    maps = some_maps(True)
    rois = torch.tensor(UPRIGHT, dtype=torch.float64)
    found = roi_align(maps, rois, BINS, 0.5, ratio, "avg", aligned)
    wanted = torch.stack([loops(maps, box, 0.5, ratio, aligned) for box in UPRIGHT])
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    weight = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).double()
    (grad,) = torch.autograd.grad((found * weight).sum(), maps)
    (expected,) = torch.autograd.grad((wanted * weight).sum(), maps)
    torch.testing.assert_close(grad, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("clockwise", [True, False])
def test_rotated_values_and_gradients(clockwise) -> None:
    from mmcv.ops import roi_align_rotated

    maps = some_maps(True)
    rois = torch.tensor(ROTATED, dtype=torch.float64)
    found = roi_align_rotated(maps, rois, BINS, 0.5, 0, True, clockwise)
    turned = [[*box[:5], -box[5] if clockwise else box[5]] for box in ROTATED]
    wanted = torch.stack([loops(maps, box, 0.5, 0, True) for box in turned])
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    (grad,) = torch.autograd.grad(found.square().sum(), maps)
    (expected,) = torch.autograd.grad(wanted.square().sum(), maps)
    torch.testing.assert_close(grad, expected, rtol=0, atol=1e-12)


def test_maximum_values_and_gradients() -> None:
    from mmcv.ops import roi_align

    maps = some_maps(True)
    rois = torch.tensor(UPRIGHT[:2], dtype=torch.float64)
    found = roi_align(maps, rois, BINS, 0.5, 2, "max", True)
    wanted = torch.stack([loops(maps, box, 0.5, 2, True, "max") for box in UPRIGHT[:2]])
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    (grad,) = torch.autograd.grad(found.square().sum(), maps)
    (expected,) = torch.autograd.grad(wanted.square().sum(), maps)
    torch.testing.assert_close(grad, expected, rtol=0, atol=1e-12)


def test_first_of_equal_maxima_is_named() -> None:
    maps = torch.ones(1, 1, 4, 4)
    regions = roi.upright_regions(torch.tensor([[0.0, 0, 0, 4, 4]]), 1.0, True)
    _, at_y, at_x = roi.roi_align_max(maps, regions, (1, 1), 2)
    assert (at_y.item(), at_x.item()) == (0.5, 0.5)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.floats(-20, 40, width=32), min_size=4, max_size=4),
    st.floats(-4, 4, width=32),
    st.integers(0, 3),
)
def test_any_region_equals_the_loops(numbers, angle, ratio) -> None:
    maps = some_maps()
    box = [1.0, *numbers[:2], abs(numbers[2]), abs(numbers[3]), angle]
    regions = roi.rotated_regions(torch.tensor([box], dtype=torch.float64), 0.5, True, False)
    found = roi.roi_align(maps, regions, BINS, ratio)[0]
    torch.testing.assert_close(found, loops(maps, box, 0.5, ratio, True), rtol=0, atol=1e-9)


def test_nothing_to_read() -> None:
    from mmcv.ops import roi_align

    maps = some_maps(True)
    found = roi_align(maps, torch.zeros(0, 5, dtype=torch.float64), BINS)
    assert found.shape == (0, 2, *BINS)
    (grad,) = torch.autograd.grad(found.sum(), maps)
    assert not grad.any()


def test_region_that_is_no_number_is_none() -> None:
    rois = torch.tensor([[0.0, 1, 1, 4, 4], [0, math.nan, 1, 4, 4], [0, 1, 1, math.inf, 4]])
    regions = roi.upright_regions(rois, 1.0, True)
    found = roi.roi_align(torch.ones(1, 1, 6, 6), regions, BINS)
    assert found.isnan().flatten(1).all(1).tolist() == [False, True, True]
    grad = roi.roi_align_grad(torch.ones(3, 1, *BINS), regions, (1, 1, 6, 6))
    assert float(grad.sum()) == pytest.approx(BINS[0] * BINS[1])


def test_half_precision_is_summed_in_single() -> None:
    maps = torch.full((1, 1, 40, 40), 1.001).bfloat16()
    regions = roi.upright_regions(torch.tensor([[0.0, 0, 0, 39, 39]]), 1.0, True)
    found = roi.roi_align(maps, regions, (1, 1))
    assert found.dtype == torch.bfloat16
    assert float(found) == float(maps[0, 0, 0, 0])


def test_many_regions_are_read_in_pieces(monkeypatch) -> None:
    maps = some_maps()
    regions = roi.upright_regions(torch.tensor(UPRIGHT, dtype=torch.float64), 0.5, True)
    whole = roi.roi_align(maps, regions, BINS)
    monkeypatch.setattr(roi, "POSITIONS", 8)
    assert torch.equal(roi.roi_align(maps, regions, BINS), whole)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected RoIs \(N, 5\).*got \(2, 4\)"):
        roi.upright_regions(torch.zeros(2, 4), 1.0, True)
