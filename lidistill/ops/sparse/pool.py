# SPDX-License-Identifier: Apache-2.0
"""Sparse pooling on the CPU from pair tables: over active voxels only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lidistill.ops.sparse.pair_table import PairTable


def sparse_max_pool(features: Tensor, table: PairTable) -> Tensor:
    """Maximum over the active voxels under the kernel; the first of equals gets the gradient.

    Args:
        features: (V_in, C) float.
        table: which input feeds which output through each kernel offset.

    Returns:
        (V_out, C).

    Differs from spconv: its CPU kernel starts at 0, so it clips negative features, and gives every
    one of equal maxima the whole gradient; here both are as in dense pooling.
    """
    return _MaxPool.apply(features, table)


def sparse_avg_pool(features: Tensor, table: PairTable) -> Tensor:
    """Mean over the active voxels under the kernel.

    Args:
        features: (V_in, C) float.
        table: which input feeds which output through each kernel offset.

    Returns:
        (V_out, C).
    """
    counts = torch.zeros(table.num_out, dtype=torch.int64)
    for _, outs in _offsets(table):
        counts[outs] += 1  # the outputs of one offset are distinct
    return _SumPool.apply(features, table) / counts.clamp(min=1).unsqueeze(1)


def _offsets(table: PairTable) -> Iterator[tuple[Tensor, Tensor]]:
    """Input and output rows of the pairs, one kernel offset at a time."""
    for first, last in table.out_starts[:, [0, -1]]:
        yield torch.from_numpy(table.ins[first:last]), torch.from_numpy(table.outs[first:last])


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, table: PairTable) -> Tensor:
        best = x.new_full((table.num_out, x.shape[1]), -torch.inf)
        winner = torch.zeros(best.shape, dtype=torch.int16)
        for k, (ins, outs) in enumerate(_offsets(table)):
            value, old = x[ins], best[outs]
            better = (value > old) | value.isnan()
            best[outs] = torch.where(better, value, old)
            winner[outs] = winner[outs].masked_fill_(better, k)
        ctx.save_for_backward(winner)
        ctx.table = table
        return best

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (winner,) = ctx.saved_tensors
        grad = grads[0].new_zeros((ctx.table.num_in, grads[0].shape[1]))
        for k, (ins, outs) in enumerate(_offsets(ctx.table)):
            grad[ins] += torch.where(winner[outs] == k, grads[0][outs], 0)
        return grad, None


class _SumPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, table: PairTable) -> Tensor:
        ctx.table = table
        out = x.new_zeros((table.num_out, x.shape[1]))
        for ins, outs in _offsets(table):
            out[outs] += x[ins]
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _SumPool.apply(grads[0], ctx.table.inverse()), None
