# SPDX-License-Identifier: Apache-2.0
"""RoI-aware pooling beside loops over boxes and points."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lidistill.ops.boxes import roi_aware_pool as pool
from lidistill.ops.mmcv import ext

ext.install()
CELLS = (3, 2, 2)


def loops(boxes, points, features, capacity: int, mode: str):
    """(M, *CELLS, C) pooled, in double precision but for the side of a face a point is on."""
    held: dict[tuple, list[int]] = {}
    for m, (x, y, z, length, width, height, yaw) in enumerate(boxes.tolist()):
        for n, (px, py, pz) in enumerate(points.tolist()):
            dx, dy, dz = px - x, py - y, pz - z
            along = dx * math.cos(yaw) + dy * math.sin(yaw)
            across = -dx * math.sin(yaw) + dy * math.cos(yaw)
            inside = abs(along) < length / 2 and abs(across) < width / 2 and 0 <= dz <= height
            if not inside:
                continue
            place = []
            for value, size, count in (
                (along + length / 2, length, CELLS[0]),
                (across + width / 2, width, CELLS[1]),
                (dz, height, CELLS[2]),
            ):
                index = int(value / (size / count)) if size else 0
                place.append(min(max(index, 0), count - 1))
            cell = held.setdefault((m, *place), [])
            if len(cell) < capacity - 1:
                cell.append(n)
    out = features.new_zeros((len(boxes), *CELLS, features.shape[1]))
    for place, rows in held.items():
        out[place] = features[rows].amax(0) if mode == "max" else features[rows].mean(0)
    return out


def scene(seed: int, count: int = 60):
    rng = np.random.default_rng(seed)
    boxes = rng.uniform([-2, -2, -1, 1, 1, 1, -4], [2, 2, 0, 5, 4, 3, 4], (4, 7))
    boxes[3, 3:6] = 0  # no volume
    points = rng.uniform(-3, 3, (count, 3))
    features = rng.normal(size=(count, 5))
    return tuple(torch.tensor(part, dtype=torch.float32) for part in (boxes, points, features))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([2, 4, 128]), st.sampled_from(["max", "avg"]))
def test_values_and_gradients_equal_the_loops(seed, capacity, mode) -> None:
    from mmcv.ops import RoIAwarePool3d

    boxes, points, features = scene(seed)
    features = features.double().requires_grad_()
    module = RoIAwarePool3d(CELLS, capacity, mode)
    found = module(boxes, points, features)
    wanted = loops(boxes, points, features, capacity, mode)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    (grad,) = torch.autograd.grad(found.square().sum(), features)
    (expected,) = torch.autograd.grad(wanted.square().sum(), features, allow_unused=True)
    torch.testing.assert_close(grad, expected, rtol=0, atol=1e-12)


def test_order_ties_and_what_is_no_number() -> None:
    boxes = torch.tensor([[0.0, 0, 0, 3, 2, 2, 0]])
    points = torch.tensor([[-1.0, -0.5, 0.5]] * 4 + [[math.nan, 0, 0]])
    table = pool.points_of_cells(boxes, points, CELLS, 4)
    assert table[0, 0, 0, 0].tolist() == [3, 0, 1, 2]  # the fourth finds no room
    features = torch.tensor([[1.0, math.nan], [2, math.nan], [2, math.nan], [9, 9], [9, 9]])
    best, winner = pool.pool_max(features, table)
    assert best[0, 0, 0, 0].tolist() == [2, 0]
    assert winner[0, 0, 0, 0].tolist() == [1, -1]
    assert (winner[0, 1:] == -1).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype) -> None:
    made = torch.Generator().manual_seed(0)
    points = torch.rand(200, 3, generator=made) * 1.6 + torch.tensor([-0.8, -0.8, 0.2])
    table = pool.points_of_cells(torch.tensor([[0.0, 0, 0, 2, 2, 2, 0]]), points, (1, 1, 1), 129)
    mean = pool.pool_mean(torch.full((200, 1), 600.0, dtype=dtype), table)
    assert (mean.dtype, mean.item()) == (dtype, 600)


def test_faces_belong_to_the_last_cell() -> None:
    boxes = torch.tensor([[0.0, 0, 0, 3, 2, 2, 0]])
    table = pool.points_of_cells(boxes, torch.tensor([[0.0, 0, 2], [0, 0, 1], [0, 0, 0]]), CELLS, 4)
    assert table[0, 1, 1, 0].tolist() == [1, 2, 0, 0]
    assert table[0, 1, 1, 1].tolist() == [2, 0, 1, 0]


@pytest.mark.parametrize(("boxes", "points"), [(0, 5), (2, 0), (0, 0)])
@pytest.mark.parametrize("mode", ["max", "avg"])
def test_nothing_to_pool(boxes, points, mode) -> None:
    from mmcv.ops import RoIAwarePool3d

    features = torch.zeros(points, 4, requires_grad=True)
    rois = torch.ones(boxes, 7) * 100
    found = RoIAwarePool3d(CELLS, 8, mode)(rois, torch.zeros(points, 3), features)
    assert found.shape == (boxes, *CELLS, 4)
    assert not found.any()
    found.sum().backward()
    assert not features.grad.any()
