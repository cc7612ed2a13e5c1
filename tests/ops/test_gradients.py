# SPDX-License-Identifier: Apache-2.0
"""Second derivatives that are not there are errors, also behind a constant incoming gradient."""

from __future__ import annotations

import pytest
import torch

from lidistill.ops.bev.frustum_read import read_and_collapse, read_frustum
from lidistill.ops.bev.pool import bev_pool, pool_plan
from lidistill.ops.gradients import differentiable_once
from lidistill.ops.graphs.local_edges import edge_gap
from lidistill.ops.images.taps import clamped_taps, sum_taps
from lidistill.ops.sparse import conv
from tests.ops.bev import test_frustum_read as frustum
from tests.ops.bev import test_pool as pool
from tests.ops.graphs import test_local_graph as graphs
from tests.ops.sparse.test_conv import random_case


class Square(torch.autograd.Function):
    """``x^2``, as a kernel would do it."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @differentiable_once
    def backward(ctx, grad):
        return 2 * ctx.saved_tensors[0].detach() * grad


def square():
    x = torch.randn(3, requires_grad=True)
    return Square.apply(x), [x]


def pooled():
    depth, context, cells = pool.inputs(0)
    return bev_pool(depth, context, pool_plan(cells, 7)), [depth, context]


def read(collapsed=False):
    _, plan = frustum.made()
    features, logits = frustum.inputs()
    depth = logits.softmax(1)[:, :-1]
    if not collapsed:
        return read_frustum(features, depth, plan), [features, logits]
    weight = torch.randn(6, 5 * frustum.GRID[2], requires_grad=True)
    return read_and_collapse(features, depth, weight, plan), [features, logits, weight]


def convolved():
    table, features, weight, bias = random_case(1, 3, 4)
    return conv.sparse_conv(features, weight, table, bias), [features, weight]


def convolved_in_torch():
    table, features, weight, bias = random_case(1, 3, 4)
    return conv._PairConv.apply(features, weight, bias, table), [features, weight]


def tapped():
    rows = torch.randn(12, 2, requires_grad=True)
    y, x = (torch.rand(5).requires_grad_() for _ in range(2))
    return sum_taps(rows, clamped_taps(y, x, 3, 4)), [rows, y, x]


def gap():
    graph, _ = graphs.some_graph()
    near, centre, weight = graphs.two_sides(torch.float32)
    return edge_gap(near, centre, graph, weight), [near, centre]


CASES = {
    "square": square,
    "pool": pooled,
    "read": read,
    "collapse": lambda: read(collapsed=True),
    "conv": convolved,
    "conv in torch": convolved_in_torch,
    "taps": tapped,
    "gap": gap,
}


@pytest.mark.parametrize("name", CASES)
def test_a_penalty_on_gradients_is_refused(name):
    """It counted for nothing: the loss beside it had a gradient, so nothing was said."""
    out, leaves = CASES[name]()
    plain = torch.autograd.grad(out.sum(), leaves, retain_graph=True)
    grads = torch.autograd.grad(out.sum(), leaves, create_graph=True)
    for one, other in zip(grads, plain, strict=True):
        assert torch.equal(one, other)
    loss = out.sum() + sum(grad.square().sum() for grad in grads)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        loss.backward()


def test_compiled_and_eager_gradients_agree():
    x = torch.randn(3, requires_grad=True)
    compiled = torch.compile(lambda x: 3 * Square.apply(x), backend="aot_eager")
    (found,) = torch.autograd.grad(compiled(x).sum(), x)
    torch.testing.assert_close(found, 6 * x.detach())
