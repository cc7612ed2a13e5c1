# SPDX-License-Identifier: Apache-2.0
"""BEV pooling on a CUDA device: the plan, values and gradients of the CPU."""

from __future__ import annotations

import torch

from lidistill.ops.bev.pool import bev_pool, pool_plan
from tests.on_gpu import DEVICE, MARKS, exact_float32  # noqa: F401
from tests.ops.bev.test_pool import inputs

pytestmark = MARKS


def test_plan_values_and_gradients():
    depth, context, cells = inputs(0, (3, 6, 8, 9), 16, 40, torch.float32)
    found = []
    for device in ("cpu", DEVICE):
        leaves = [each.detach().to(device).requires_grad_() for each in (depth, context)]
        plan = pool_plan(cells.to(device), 40)
        out = bev_pool(*leaves, plan)
        out.square().sum().backward()
        values = (plan.points, plan.offsets, out.detach(), *(leaf.grad for leaf in leaves))
        found.append([value.cpu() for value in values])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_no_point_in_the_map():
    depth, context, cells = inputs(1, dtype=torch.float32)
    leaves = [each.detach().to(DEVICE).requires_grad_() for each in (depth, context)]
    out = bev_pool(*leaves, pool_plan(torch.full_like(cells, -1).to(DEVICE), 7))
    out.sum().backward()
    assert not out.any()
    assert not any(leaf.grad.any() for leaf in leaves)
