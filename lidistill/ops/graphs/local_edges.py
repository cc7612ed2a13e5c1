# SPDX-License-Identifier: Apache-2.0
"""Reductions over the edges of a local graph that store no edge.

An edge is ``relu(near[j] + centre[i])`` per channel for neighbour j of query i: what a linear
layer, batch norm and ReLU make of ``[x_j ; x_i]``, once both were projected *before* gathering. No
tensor of Q * K * C elements is made: memory is linear in places and queries.

float32 on the CPU goes through numba kernels, all else in blocks of torch; both are differentiable
once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lidistill.ops._threads import in_parallel
from lidistill.ops.gradients import differentiable_once
from lidistill.ops.graphs import _edge_kernels as kernels
from lidistill.ops.graphs import _torch_blocks as blocks
from lidistill.ops.graphs.local_graph import LocalGraph


def neighbour_sum(values: Tensor, graph: LocalGraph) -> Tensor:
    """(Q, C) sum over each query's neighbours of the rows of ``values`` (n, C)."""
    return _NeighbourSum.apply(values, graph)


def neighbour_max(values: Tensor, graph: LocalGraph) -> Tensor:
    """(Q, C) maximum over each query's neighbours of the rows of ``values`` (n, C)."""
    return _NeighbourMax.apply(values, graph)


def neighbour_relu_mean(near: Tensor, centre: Tensor, graph: LocalGraph) -> Tensor:
    """Mean of each query's edges.

    Args:
        near: (n, C) neighbour part.
        centre: (Q, C) centre part.
        graph: Q queries among n places.

    Returns:
        (Q, C) ``mean_j relu(near[j] + centre[i])``.
    """
    return _NeighbourReluMean.apply(near, centre, graph)


def edge_gap(near: Tensor, centre: Tensor, graph: LocalGraph, weight: Tensor) -> Tensor:
    """Weighted squared distance between the edges of two sides, over all edges and channels.

    The gradient is made in the forward pass, edge by edge; none is stored.

    Args:
        near: (n, 2, C) neighbour parts, student then teacher; both sides may have a gradient.
        centre: (Q, 2, C) centre parts.
        graph: Q queries among n places.
        weight: (Q,) weight of each query, without gradient.

    Returns:
        Scalar ``sum_i weight_i sum_jc (relu(near_s + centre_s) - relu(near_t + centre_t))^2``.
    """
    with_gradient = torch.is_grad_enabled() and (near.requires_grad or centre.requires_grad)
    return _EdgeGap.apply(near, centre, weight.detach().to(near), graph, with_gradient)


class _NeighbourSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, graph: LocalGraph) -> Tensor:
        ctx.graph = graph
        if not _native(values):
            return blocks.sum_rows(values, graph)
        out = values.new_empty(len(graph.index), values.shape[1])
        source, target, lists = _array(values), out.numpy(), graph.lists()
        in_parallel(lambda a, b: kernels.sum_rows(source, *lists, target, a, b), len(out))
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        graph: LocalGraph = ctx.graph
        if not _native(grad):
            return blocks.sum_owners(grad, graph), None
        out = grad.new_empty(graph.num_places, grad.shape[1])
        source, target, owners = _array(grad), out.numpy(), graph.owners
        in_parallel(lambda a, b: kernels.sum_owners(source, *owners, target, a, b), len(out))
        return out, None


class _NeighbourMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, graph: LocalGraph) -> Tensor:
        if _native(values):
            out = values.new_empty(len(graph.index), values.shape[1])
            source = torch.empty(out.shape, dtype=torch.int32)
            arrays = (_array(values), *graph.lists(), out.numpy(), source.numpy())
            in_parallel(lambda a, b: kernels.max_rows(*arrays, a, b), len(out))
        else:
            out, source = blocks.max_rows(values, graph)
        ctx.save_for_backward(source)
        ctx.num_places = graph.num_places
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (source,) = ctx.saved_tensors
        out = grad.new_zeros(ctx.num_places, grad.shape[1])
        return out.scatter_add_(0, source.long(), grad), None


class _NeighbourReluMean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, near: Tensor, centre: Tensor, graph: LocalGraph) -> Tensor:
        ctx.graph = graph
        if _native(near):
            out, share = torch.empty_like(centre), torch.empty_like(centre)
            arrays = (_array(near), _array(centre), *graph.lists(), out.numpy(), share.numpy())
            in_parallel(lambda a, b: kernels.relu_mean_rows(*arrays, a, b), len(out))
        else:
            out, share = blocks.relu_mean_rows(near, centre, graph)
        ctx.save_for_backward(near, centre, share)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        near, centre, share = ctx.saved_tensors
        graph: LocalGraph = ctx.graph
        each = grad / graph.count.unsqueeze(1)
        if not _native(near):
            return blocks.relu_mean_owners(near, centre, each, graph), grad * share, None
        out = torch.empty_like(near)
        arrays = (_array(near), _array(centre), _array(each), *graph.owners, out.numpy())
        in_parallel(lambda a, b: kernels.relu_mean_owners(*arrays, a, b), len(out))
        return out, grad * share, None


class _EdgeGap(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, near: Tensor, centre: Tensor, weight: Tensor, graph: LocalGraph, with_grad: bool
    ) -> Tensor:
        if _native(near):
            gap, grad_centre = near.new_empty(len(centre)), torch.empty_like(centre)
            rows = (_array(near), _array(centre))
            arrays = (*rows, *graph.lists(), gap.numpy(), grad_centre.numpy())
            in_parallel(lambda a, b: kernels.gap_rows(*arrays, a, b), len(centre))
            grad_near = torch.empty_like(near) if with_grad else near
            if with_grad:
                arrays = (*rows, _array(weight), *graph.owners, grad_near.numpy())
                in_parallel(lambda a, b: kernels.gap_owners(*arrays, a, b), len(near))
        else:
            gap, grad_near, grad_centre = blocks.gap(near, centre, weight, graph)
        if with_grad:
            ctx.save_for_backward(grad_near, grad_centre * weight[:, None, None])
        return (gap * weight).sum()

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_near, grad_centre = ctx.saved_tensors
        return grad_near * grad, grad_centre * grad, None, None, None


def _native(rows: Tensor) -> bool:
    """Whether the kernels take these rows; all else goes in blocks of torch."""
    return rows.device.type == "cpu" and rows.dtype == torch.float32


def _array(rows: Tensor) -> np.ndarray:
    """Rows as the kernels read them."""
    return rows.detach().contiguous().numpy()
