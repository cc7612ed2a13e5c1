# SPDX-License-Identifier: Apache-2.0
"""BEV pooling beside a loop over points."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lidistill.ops.bev import pool
from lidistill.ops.bev.pool import bev_pool, pool_plan


def loop(depth, context, cells, num_cells):
    """One point at a time, differentiable, in the inputs' precision."""
    nothing = 0 * (context[0, :, 0, 0] + depth[0, 0, 0, 0])
    rows = [nothing for _ in range(num_cells)]
    for m, d, v, u in np.ndindex(*cells.shape):
        cell = int(cells[m, d, v, u])
        if cell >= 0:
            rows[cell] = rows[cell] + depth[m, d, v, u] * context[m, :, v, u]
    return torch.stack(rows)


def inputs(seed, shape=(2, 3, 2, 3), channels=5, num_cells=7, dtype=torch.float64):
    made = torch.Generator().manual_seed(seed)
    cells = torch.randint(-2, num_cells, shape, generator=made)
    depth = torch.rand(shape, generator=made, dtype=dtype).requires_grad_()
    context = torch.randn(
        shape[0], channels, *shape[2:], generator=made, dtype=dtype
    ).requires_grad_()
    return depth, context, cells


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 3), st.integers(1, 4), st.integers(1, 9))
def test_equals_loop(seed, images, bins, num_cells):
    shape = (images, bins, 2, 3)
    depth, context, cells = inputs(seed, shape, num_cells=num_cells)
    plan = pool_plan(cells, num_cells)
    ours, theirs = bev_pool(depth, context, plan), loop(depth, context, cells, num_cells)
    torch.testing.assert_close(ours, theirs)
    cotangent = torch.randn(ours.shape, dtype=ours.dtype)
    wanted = torch.autograd.grad(theirs, (depth, context), cotangent, allow_unused=True)
    got = torch.autograd.grad(ours, (depth, context), cotangent)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, torch.zeros_like(one) if other is None else other)


def test_float32_is_near_and_half_is_summed_in_float32():
    depth, context, cells = inputs(0)
    plan = pool_plan(cells, 7)
    exact = bev_pool(depth, context, plan)
    single = bev_pool(depth.float(), context.float(), plan)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, exact.float(), atol=1e-6, rtol=1e-6)
    half = bev_pool(depth.bfloat16(), context.bfloat16(), plan)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, exact.float(), atol=0.05, rtol=0.05)


def test_threads_change_nothing():
    depth, context, cells = inputs(1, (3, 4, 20, 20), num_cells=50)
    plan = pool_plan(cells, 50)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            out = bev_pool(depth, context, plan)
            found.append(torch.autograd.grad(out.square().sum(), (depth, context)))
    finally:
        torch.set_num_threads(before)
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            assert torch.equal(one, other)


def test_no_point_in_the_map_gives_zero_with_gradient():
    depth, context, cells = inputs(2)
    out = bev_pool(depth, context, pool_plan(torch.full_like(cells, -1), 7))
    assert out.shape == (7, 5)
    assert not out.any()
    gradients = torch.autograd.grad(out.sum(), (depth, context))
    assert not any(gradient.any() for gradient in gradients)


def test_a_plan_counts_every_point_once():
    _, _, cells = inputs(3)
    plan = pool_plan(cells, 7)
    flat = cells.flatten()
    assert len(plan.points) == int((flat >= 0).sum())
    for cell in range(plan.num_cells):
        mine = plan.points[plan.offsets[cell] : plan.offsets[cell + 1]]
        assert torch.equal(mine, (flat == cell).nonzero().squeeze(1))


def test_the_way_of_other_devices_is_the_same():
    """Sorting and gradients as they run on a GPU, run here on the CPU."""
    depth, context, cells = inputs(5)
    plan = pool_plan(cells, 7)
    points, offsets = pool.sort_cells(cells.flatten(), 7)
    assert torch.equal(points, plan.points)
    assert torch.equal(offsets, plan.offsets)
    rows = context.permute(0, 2, 3, 1).reshape(-1, context.shape[1])
    theirs = pool._sum_cells(depth, rows, plan)
    ours = bev_pool(depth, context, plan)
    assert torch.equal(ours, theirs)
    cotangent = torch.randn(ours.shape, dtype=ours.dtype)
    wanted = torch.autograd.grad(theirs, (depth, context), cotangent)
    for one, other in zip(
        torch.autograd.grad(ours, (depth, context), cotangent), wanted, strict=True
    ):
        torch.testing.assert_close(one, other)


def test_wrong_shapes_say_what_is_wanted():
    depth, context, cells = inputs(4)
    with pytest.raises(ValueError, match="below 3"):
        pool_plan(cells, 3)
    with pytest.raises(ValueError, match="integer cells"):
        pool_plan(cells.float(), 7)
    plan = pool_plan(cells, 7)
    with pytest.raises(ValueError, match=r"depth \(2, 3, 2, 3\)"):
        bev_pool(depth[:1], context, plan)
    with pytest.raises(ValueError, match="context"):
        bev_pool(depth, context[..., :1], plan)
