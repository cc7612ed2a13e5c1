# SPDX-License-Identifier: Apache-2.0
"""Sparse convolution on the CPU from neighbour tables: values and gradients of the dense one, any thread count."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lidistill.ops._sparse_kernels import multiply, outer, strip
from lidistill.ops._threads import in_parallel
from lidistill.ops.neighbours import BLOCK, PairTable


def sparse_conv(
    features: Tensor, weight: Tensor, table: PairTable, bias: Tensor | None = None
) -> Tensor:
    """Convolve sparse features: ``out[o] = bias + sum_k features[sources[k, o]] @ weight[:, k].T``.

    Args:
        features: (V_in, Cin) float.
        weight: (Cout, K, Cin), or (Cout, kernel..., Cin) as spconv keeps it; same dtype as ``features``.
        table: which input each output reads through each of the K kernel offsets.
        bias: (Cout,) or None.

    Returns:
        (V_out, Cout), dtype of ``features``. Half-precision inputs are accumulated in float32; under
        ``torch.autocast("cpu")`` the result has the autocast dtype, as of a dense convolution.

    Raises:
        ValueError: shapes that do not fit each other, or two dtypes outside autocast.
    """
    out_dtype = features.dtype
    if torch.is_autocast_enabled("cpu"):
        if features.dtype != torch.float64:
            out_dtype = torch.get_autocast_dtype("cpu")
    elif features.dtype != weight.dtype:
        raise ValueError(
            f"expected features and weight of one dtype, got {features.dtype} and {weight.dtype}: "
            "cast one of them, or run under torch.autocast('cpu')"
        )
    _check(features, weight, table)
    dtype = torch.float64 if features.dtype == torch.float64 else torch.float32
    kernel = weight.to(dtype).reshape(weight.shape[0], -1, weight.shape[-1])  # (Cout, K, Cin)
    start = None if bias is None else bias.to(dtype)
    return _SparseConv.apply(features.to(dtype), kernel, start, table).to(out_dtype)


def _check(features: Tensor, weight: Tensor, table: PairTable) -> None:
    volume = weight[0, ..., 0].numel()
    if features.ndim != 2 or features.shape[1] != weight.shape[-1] or volume != table.volume:
        raise ValueError(
            f"expected features (V, {weight.shape[-1]}) and a table of {volume} kernel offsets for the weight "
            f"{tuple(weight.shape)}, got {tuple(features.shape)} and {table.volume}"
        )
    if features.shape[0] != table.num_in:
        raise ValueError(
            f"expected one feature row for each of the table's {table.num_in} voxels, got "
            f"{features.shape[0]}: was the table built for other coordinates (a reused indice_key)?"
        )


class _SparseConv(torch.autograd.Function):
    """``out[o] = bias + sum over pairs (i, o) of x[i] @ weight[:, k].T`` with weight (Cout, K, Cin)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, table: PairTable
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.table = table
        return _multiply(x, weight.permute(1, 2, 0), bias, table)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grads[0].contiguous()
        table: PairTable = ctx.table
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = _multiply(grad, weight.permute(1, 0, 2), None, table.inverse())
        if ctx.needs_input_grad[1]:
            grad_weight = _outer(grad, x, table)
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum(dim=0)
        return grad_x, grad_weight, grad_bias, None


def _multiply(x: Tensor, kernel: Tensor, bias: Tensor | None, table: PairTable) -> Tensor:
    """Sum over the pairs of ``x[in] @ kernel[k]``, kernel (K, Cin, Cout): (V_out, Cout)."""
    width = kernel.shape[2]
    lanes = strip(x.element_size())
    packed = _to_strips(kernel, lanes)
    padded = packed.shape[1] * lanes
    start = x.new_zeros(padded)
    if bias is not None:
        start[:width] = bias
    out = x.new_empty((table.num_out, padded))
    arrays = (
        x.contiguous().numpy(),
        packed.view(-1).numpy(),
        start.numpy(),
        table.ins,
        table.outs,
        table.out_starts,
        table.out_order,
        out.numpy(),
        BLOCK,
    )
    in_parallel(lambda first, last: multiply(*arrays, first, last), table.out_starts.shape[1] - 1)
    return out if padded == width else out[:, :width].contiguous()


def _to_strips(kernel: Tensor, lanes: int) -> Tensor:
    """(K, Cin, Cout) as (K, Cout / lanes, Cin, lanes), the last strip filled up with zeros."""
    kernel = torch.nn.functional.pad(kernel, (0, -kernel.shape[2] % lanes))
    return kernel.unflatten(2, (-1, lanes)).transpose(1, 2).contiguous()


def _outer(rows: Tensor, columns: Tensor, table: PairTable) -> Tensor:
    """Sum over the pairs of ``outer(rows[out], columns[in])``: (R, K, C)."""
    width = columns.shape[1]
    lanes = strip(rows.element_size())
    columns = torch.nn.functional.pad(columns, (0, -width % lanes)).contiguous()
    out = rows.new_empty((rows.shape[1], table.volume, columns.shape[1]))
    arrays = (
        rows.numpy(),
        columns.numpy(),
        table.outs,
        table.ins,
        table.out_starts,
        out.numpy(),
        4,
    )
    in_parallel(lambda first, last: outer(*arrays, first, last), table.volume)
    return out if columns.shape[1] == width else out[:, :, :width].contiguous()
