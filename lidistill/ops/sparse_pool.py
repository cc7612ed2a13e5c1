# SPDX-License-Identifier: Apache-2.0
"""Sparse pooling on the CPU from neighbour tables: over active voxels only, gathers alone, any thread count."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lidistill.ops.neighbours import NeighbourTable


def sparse_max_pool(features: Tensor, table: NeighbourTable) -> Tensor:
    """Maximum over the active voxels under the kernel; the first of equals gets the gradient, as in dense pooling.

    Args:
        features: (V_in, C) float.
        table: which input each output reads through each kernel offset.

    Returns:
        (V_out, C).

    Differs from the authors' release: spconv's native kernel starts at 0, so it clips negative features, and gives
    every one of equal maxima the whole gradient.
    """
    return _MaxPool.apply(features, table)


def sparse_avg_pool(features: Tensor, table: NeighbourTable) -> Tensor:
    """Mean over the active voxels under the kernel.

    Args:
        features: (V_in, C) float.
        table: which input each output reads through each kernel offset.

    Returns:
        (V_out, C).
    """
    counts = (table.sources >= 0).sum(dim=0).clamp(min=1)
    return _SumPool.apply(features, table) / counts.unsqueeze(1)


def _read(features: Tensor, rows: Tensor, missing: float) -> Tensor:
    """Rows of ``features``, ``missing`` where the row is -1."""
    if features.shape[0] == 0:
        return features.new_full((rows.shape[0], features.shape[1]), missing)
    picked = features.index_select(0, rows.clamp(min=0))
    return picked.masked_fill_((rows < 0).unsqueeze(1), missing)


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, table: NeighbourTable) -> Tensor:
        best = x.new_full((table.num_out, x.shape[1]), -torch.inf)
        winner = torch.zeros(best.shape, dtype=torch.int16)
        for k in range(table.volume):
            value = _read(x, table.sources[k], -torch.inf)
            better = value > best
            winner.masked_fill_(better, k)
            best = torch.where(better | value.isnan(), value, best)
        ctx.save_for_backward(winner)
        ctx.table = table
        return best

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (winner,) = ctx.saved_tensors
        grad = grads[0].new_zeros((ctx.table.num_in, grads[0].shape[1]))
        for k in range(ctx.table.volume):
            won = torch.where(winner == k, grads[0], 0)
            grad += _read(won, ctx.table.targets[k], 0.0)
        return grad, None


class _SumPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, table: NeighbourTable) -> Tensor:
        ctx.table = table
        out = x.new_zeros((table.num_out, x.shape[1]))
        for rows in table.sources:
            out += _read(x, rows, 0.0)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _SumPool.apply(grads[0], ctx.table.inverse()), None
