# SPDX-License-Identifier: Apache-2.0
"""Sparse convolution on the CPU from neighbour tables: values and gradients of the dense one, any thread count."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lidistill.ops.neighbours import NeighbourTable


def sparse_conv(
    features: Tensor, weight: Tensor, table: NeighbourTable, bias: Tensor | None = None
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
    out = _SparseConv.apply(features.to(dtype), kernel.permute(1, 2, 0), table)
    if bias is not None:
        out = out + bias.to(dtype)
    return out.to(out_dtype)


def _check(features: Tensor, weight: Tensor, table: NeighbourTable) -> None:
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
    """``out[o] = sum_k x[sources[k, o]] @ kernel[k]`` with kernel (K, Cin, Cout)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, table: NeighbourTable) -> Tensor:
        ctx.save_for_backward(x, kernel)
        ctx.table = table
        return _gather_multiply(x, kernel, table.sources)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, kernel = ctx.saved_tensors
        grad = grads[0].contiguous()
        grad_x = grad_kernel = None
        if ctx.needs_input_grad[0]:
            grad_x = _gather_multiply(grad, kernel.transpose(1, 2), ctx.table.targets)
        if ctx.needs_input_grad[1]:
            grad_kernel = _gather_outer(x, grad, ctx.table.sources)
        return grad_x, grad_kernel, None


def _gather_multiply(x: Tensor, kernel: Tensor, sources: Tensor) -> Tensor:
    out = x.new_zeros((sources.shape[1], kernel.shape[2]))
    for k in range(sources.shape[0]):
        rows = (sources[k] >= 0).nonzero().squeeze(1)
        if len(rows):
            product = x.index_select(0, sources[k].index_select(0, rows)) @ kernel[k]
            out[rows] += product  # rows of one offset are distinct
    return out


def _gather_outer(x: Tensor, grad: Tensor, sources: Tensor) -> Tensor:
    out = x.new_zeros((sources.shape[0], x.shape[1], grad.shape[1]))
    for k in range(sources.shape[0]):
        rows = (sources[k] >= 0).nonzero().squeeze(1)
        if len(rows):
            picked = x.index_select(0, sources[k].index_select(0, rows))
            torch.mm(picked.T, grad.index_select(0, rows), out=out[k])
    return out
